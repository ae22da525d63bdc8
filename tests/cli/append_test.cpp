// `reprefill run --append` as a user calls it: conversations on the shipped model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <sstream>

#include "core/base/json.hpp"
#include "tests/support/program.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::read_text;
using test_support::run_program;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

const std::string kSource = REPREFILL_SOURCE_DIR;
const std::string kModel = kSource + "/models/recall-small";

/// A store with the text that the shipped conversation begins with: 2,048 tokens.
class RunAppend : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryFolder;
    const ProgramResult built = run_program("store build --quiet --threads 2 --model " + kModel + " --store " +
                                            store() + " --text " + kModel + "/example.txt");
    ASSERT_EQ(built.exit_code, 0) << built.output;
  }
  static void TearDownTestSuite() { delete shared_; }
  static std::string store() { return (*shared_ / "store").string(); }
  static ProgramResult run(const std::string& more) {
    const std::string answers = more.find("--max-tokens") == std::string::npos ? "--max-tokens 1 " : "";
    return run_program("run --threads 2 " + answers + "--model " + kModel + " --store " + store() + " " + more);
  }
  static ProgramResult converse(const std::string& more) {
    return run("--requests " + kModel + "/conversation.jsonl " + more);
  }
  static void expect_refused(const ProgramResult& result, const std::string& text) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
  }

 private:
  static TemporaryFolder* shared_;
};
TemporaryFolder* RunAppend::shared_ = nullptr;

std::vector<int> each(const Json& run, const char* key) {
  std::vector<int> values;
  for (const Json& request : run["requests"]) values.push_back(request[key].get<int>());
  return values;
}

int sum(const std::vector<int>& values) { return std::accumulate(values.begin(), values.end(), 0); }

int approximate_tokens(const Json& run) {
  int tokens = 0;
  for (const Json& request : run["requests"]) tokens += request["efficiency"]["approximate_tokens_reused"].get<int>();
  return tokens;
}

TEST_F(RunAppend, FiveTurnsFindWhatTheTurnsBeforeStoredAndAnswerFromIt) {
  const ProgramResult result =
      converse("--append suffix --verify-reads --json --system contiguous_kv --set budget=0.25");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json json = Json::parse(result.output);
  EXPECT_THAT(each(json, "stored_tokens"), ElementsAre(2048, 2048, 2176, 2304, 2432));
  EXPECT_THAT(each(json, "appended_tokens"), ElementsAre(0, 128, 128, 128, 192));
  std::string answers;
  for (const Json& request : json["requests"]) answers += request["text"].get<std::string>();
  EXPECT_EQ(answers, " silver bronze round iron purple") << "told in the prefix and in the turns before";
  EXPECT_EQ(json["resolved"]["append"], "suffix");
  EXPECT_EQ(json["appended"]["segments"], 4);
  EXPECT_EQ(json["appended"]["writes"], 4 * 16);
  EXPECT_FALSE(std::filesystem::exists(store() + "/.appended"));
  EXPECT_EQ(run_program("store verify --quiet --store " + store()).exit_code, 0);

  const Json plain = Json::parse(converse("--json --system contiguous_kv --set budget=0.25").output);
  EXPECT_THAT(each(plain, "stored_tokens"), ElementsAre(2048, 2048, 2048, 2048, 2048));
  EXPECT_EQ(plain["appended"]["segments"], 0);
}

/// The committed scenario is the same conversation, whose prefix a request of its own stores first.
TEST_F(RunAppend, TheCommittedScenarioStoresAndReusesTheSameTokens) {
  const TemporaryFolder folder;
  const std::string result = (folder / "result").string();
  const ProgramResult swept = run_program(
      "sweep " + kSource + "/scenarios/studies/append-turns.json --set model=" + kModel + " --out " + result);
  ASSERT_EQ(swept.exit_code, 0) << swept.output;
  std::istringstream rows(read_text(result + "/results.jsonl"));
  int num_rows = 0;
  for (std::string line; std::getline(rows, line); ++num_rows) {
    const Json row = Json::parse(line);
    const auto system = row["label"].get<std::string>();
    if (system == "recompute") continue;
    const auto append_kv = row["axes"]["workload.append_kv"].get<std::string>();
    const std::string budget = row["axes"]["budget"].is_null() ? "" : " --set budget=0.25";
    const ProgramResult ran =
        converse("--append suffix --json --append-kv " + append_kv + " --system " + system + budget);
    ASSERT_EQ(ran.exit_code, 0) << ran.output;
    const Json run = Json::parse(ran.output);
    const auto in_all = [&](const Json& mean) { return static_cast<int>(std::lround(6 * mean.get<double>())); };
    EXPECT_EQ(in_all(row["workload"]["mean_hit_tokens_trace_blocks"]), sum(each(run, "stored_tokens")));
    EXPECT_EQ(in_all(row["efficiency"]["approximate_tokens_reused"]), approximate_tokens(run));
    const int stored = sum(each(run, "appended_tokens"));
    const double per_token = run["appended"]["bytes"].get<double>() / stored;
    EXPECT_EQ(in_all(row["bytes_per_request"]["appended_bytes"]), std::lround(per_token * (2048 + stored))) << system;
  }
  EXPECT_EQ(num_rows, 8);
}

TEST_F(RunAppend, OutputsAreStoredWhereTheyFillBlocks) {
  const Json with = Json::parse(
      converse("--append suffix_and_output --max-tokens 70 --json --system attention_store,recompute").output);
  EXPECT_GT(each(with[0], "appended_tokens").front(), 0) << "the question and its answer are more than a block";
  EXPECT_GT(sum(each(with[0], "appended_tokens")), 5 * 64);
  EXPECT_EQ(sum(each(with[1], "appended_tokens")), 0);
}

TEST_F(RunAppend, AllSystemsAreThoseThatCan) {
  const Json all = Json::parse(run("--prompt ' The' --append suffix --json --system all").output);
  std::vector<std::string> names;
  for (const Json& run : all) names.push_back(run["resolved"]["system"]);
  EXPECT_THAT(names, UnorderedElementsAre("recompute", "attention_store", "as_h2o", "impress", "contiguous_kv"));
}

TEST_F(RunAppend, TurnsWaitForTheAnswerBeforeWithSeveralInFlight) {
  const char* options = "--append suffix_and_output --json --system attention_store";
  const Json alone = Json::parse(converse(options).output);
  const Json together = Json::parse(converse(fmt::format("{} --in-flight 3", options)).output);
  for (const char* key : {"prompt_tokens", "stored_tokens", "appended_tokens"}) {
    EXPECT_EQ(each(together, key), each(alone, key)) << "one conversation: nothing of it can overlap";
  }
  EXPECT_EQ(each(together, "appended_tokens").size(), 5u);
}

TEST_F(RunAppend, OracleKnowsWhatWillBeStored) {
  const std::string run_options = "--append suffix --json --system oracle --selections preset:paper-5pct";
  const Json json = Json::parse(run("--prompt ' The' " + run_options).output);
  EXPECT_EQ(json["resolved"]["system"], "oracle");
}

TEST_F(RunAppend, TextSaysWhatWasAppended) {
  const ProgramResult result = converse("--append suffix --system contiguous_kv --set budget=0.25");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("in 4 segments, 64 writes"));
  EXPECT_THAT(result.output, HasSubstr("approximate tokens reused"));
}

TEST_F(RunAppend, MistakesAreExplained) {
  expect_refused(converse("--append sufix"), "suffix_and_output");
  expect_refused(converse("--append suffix --append-kv exact"), "recompute_exact");
  expect_refused(converse("--append suffix --system resident"), "resident");
  expect_refused(run("--prompt x --append suffix --in-flight 2 --system oracle --selections preset:paper-5pct"),
                 "2 requests in flight");
  expect_refused(run("--prompt x --append suffix_and_output --system oracle --selections preset:paper-5pct"),
                 "before the run");
  const TemporaryFolder folder;
  const std::string requests = (folder / "requests.jsonl").string();
  write_text(requests, R"({"id": "a", "prompt": "x", "continues": "b"})");
  expect_refused(run("--requests " + requests), "line 1: continues: found \"b\"");
  write_text(requests, R"({"id": "a", "prompt": "x"})"
                       "\n"
                       R"({"prefix": "x", "suffix": "y", "continues": "a"})");
  expect_refused(run("--requests " + requests), "prompt or ids with continues");
  expect_refused(run_program("store build --quiet --model " + kModel + " --store " + (folder / "s").string() +
                             " --prefixes " + kModel + "/conversation.jsonl"),
                 "continues");
}

}  // namespace
}  // namespace reprefill
