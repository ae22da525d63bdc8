// `reprefill compare`, `diff` and `advise` as a user calls them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/record/timeline.hpp"
#include "tests/engine/tokenizer/tiny_tokenizer.hpp"
#include "tests/support/program.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::read_text;
using test_support::run_program;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class StudyVerbs : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryFolder;
    test_support::write_checkpoint(*shared_ / "model", {.num_layers = 3,
                                                        .hidden = 64,
                                                        .num_query_heads = 4,
                                                        .num_kv_heads = 2,
                                                        .head_dim = 16,
                                                        .intermediate = 96,
                                                        .vocab = 300});
    write_text(*shared_ / "model" / "tokenizer.json", engine::test_support::tiny_tokenizer({}).dump());
  }
  static void TearDownTestSuite() { delete shared_; }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string scenario(const Json& more = Json::object()) const {
    Json json = {{"name", "small"},
                 {"model", "qwen2.5-0.5b"},
                 {"profile", "a800-990pro"},
                 {"systems", {"recompute", {{"name", "contiguous_kv"}, {"params", {{"period_layers", 2}}}}}},
                 {"workload",
                  {{"kind", "prefix_pool"},
                   {"prefix_tokens", 200},
                   {"suffix_tokens", 8},
                   {"num_prefixes", 2},
                   {"warmup_requests", 1},
                   {"measured_requests", 3}}}};
    json.update(more);
    write_text(path("small.json"), json.dump());
    return path("small.json");
  }
  ProgramResult compare(const std::string& more) const {
    return run_program("compare " + scenario() + " --buffered --quiet --threads 2 --range-replicas 4 --model " +
                       (*shared_ / "model").string() + " --out " + path("out") + " " + more);
  }
  static void expect_refused(const ProgramResult& result, const std::string& text) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
  }

  TemporaryFolder folder_;
  static TemporaryFolder* shared_;
};
TemporaryFolder* StudyVerbs::shared_ = nullptr;

TEST_F(StudyVerbs, CompareWritesItsReportsAndLeavesNoStoreBehind) {
  const ProgramResult result = compare("--repeats 2");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("# Predicted and measured"), HasSubstr("equal on 2 of 2 points")));
  EXPECT_EQ(read_text(path("out/compare.md")) + "\nResults: " + path("out") + "\n", result.output);
  const Json summary = Json::parse(read_text(path("out/summary.json")));
  EXPECT_EQ(summary["kind"], "compare");
  EXPECT_TRUE(record::check_timeline(Json::parse(read_text(path("out/timeline.json")))).empty());
  EXPECT_FALSE(std::filesystem::exists(path("out/work")));
  // A second one does not overwrite the first.
  expect_refused(compare("--repeats 2"), "has results already");
  EXPECT_EQ(compare("--repeats 1 --force").exit_code, 0);
  expect_refused(compare("--repeats 3 --resume"), "/repeats was 1 and is 3");
}

TEST_F(StudyVerbs, CompareKeepsANamedWorkFolderAndUsesItsStoreAgain) {
  const std::string work = "--work " + path("work") + " --repeats 1 --json ";
  const ProgramResult first = compare(work);
  ASSERT_EQ(first.exit_code, 0) << first.output;
  EXPECT_EQ(Json::parse(first.output)["equality"]["equal_points"], 2);
  EXPECT_TRUE(std::filesystem::exists(path("work/store")));
  const ProgramResult again = compare(work + "--force");
  EXPECT_EQ(again.exit_code, 0) << again.output;
}

TEST_F(StudyVerbs, CompareJudgesAgainWithoutModelAndStore) {
  ASSERT_EQ(compare("--repeats 1 --work " + path("work")).exit_code, 0);
  const std::string measured = read_text(path("out/journal.jsonl")), rows = read_text(path("out/results.jsonl"));
  std::filesystem::remove_all(path("work/store"));
  const auto judge = [&](const std::string& more) {
    return run_program("compare " + scenario() +
                       " --judge-only --buffered --quiet --range-replicas 4 --repeats 1 --out " + path("out") +
                       " --work " + path("work") + " " + more);
  };
  const ProgramResult same = judge("");
  ASSERT_EQ(same.exit_code, 0) << same.output;
  EXPECT_EQ(read_text(path("out/results.jsonl")), rows);
  const ProgramResult other = judge("--profile rtx3090-s4500-sata");
  ASSERT_EQ(other.exit_code, 0) << other.output;
  EXPECT_NE(read_text(path("out/results.jsonl")), rows);
  EXPECT_EQ(read_text(path("out/journal.jsonl")), measured);

  expect_refused(judge("--force"), "--force");
  expect_refused(judge("--set workload.measured_requests=2"), "measured_requests");
  std::filesystem::remove(path("work/requests.json"));
  expect_refused(judge(""), "requests.json");
  expect_refused(run_program("compare " + scenario() + " --judge-only"), "--work");
  expect_refused(run_program("compare " + scenario()), "--model: found none");
}

TEST_F(StudyVerbs, CompareExplainsWhatItCannotServe) {
  expect_refused(compare("--set workload.arrivals=poisson"), "workload.arrivals: found poisson; expected closed");
  expect_refused(compare("--profile nowhere"), "no profile \"nowhere\"");
  expect_refused(compare("--kv-dtype fp32"), "--kv-dtype: found fp32; expected bf16");
  expect_refused(compare("--repeats 0"), "--repeats");
}

TEST_F(StudyVerbs, DiffJudgesTwoSweeps) {
  const auto sweep = [&](const std::string& name, const std::string& more) {
    return run_program("sweep " + scenario() + " --quiet --out " + path(name) + " --set keep_requests=true " + more);
  };
  ASSERT_EQ(sweep("a", "").exit_code, 0);
  ASSERT_EQ(sweep("b", "--set model=qwen2.5-1.5b").exit_code, 0);
  const ProgramResult same = run_program("diff " + path("a") + " " + path("a"));
  EXPECT_EQ(same.exit_code, 0) << same.output;
  EXPECT_THAT(same.output, AllOf(HasSubstr("same"), HasSubstr("Paired by request"), Not(HasSubstr("worse"))));
  const ProgramResult slower = run_program("diff --json " + path("a") + " " + path("b"));
  ASSERT_EQ(slower.exit_code, 0) << slower.output;
  for (const Json& point : Json::parse(slower.output)["points"]) EXPECT_EQ(point["verdict"], "worse") << point;
  const ProgramResult by_point = run_program("diff --by point " + path("a") + " " + path("b"));
  EXPECT_THAT(by_point.output, AllOf(HasSubstr("ambiguous"), HasSubstr("A single pair has no interval")));
  expect_refused(run_program("diff " + path("a") + " " + path("nowhere")), "no results.jsonl");
  expect_refused(run_program("diff --by rank " + path("a") + " " + path("b")), "--by: found \"rank\"");
  expect_refused(run_program("diff --metric ttft.p95_ttft_ms " + path("a") + " " + path("b")), "found null");
}

TEST_F(StudyVerbs, DiffRefusesAComparisonBesideASweep) {
  ASSERT_EQ(compare("--repeats 1").exit_code, 0);
  ASSERT_EQ(run_program("sweep " + scenario() + " --quiet --out " + path("sweep")).exit_code, 0);
  expect_refused(run_program("diff " + path("out") + " " + path("sweep")), "the first result has compare rows");
  EXPECT_EQ(run_program("diff " + path("out") + " " + path("out")).exit_code, 0);
}

TEST_F(StudyVerbs, ASweepShowsARangeOnRequest) {
  const ProgramResult result =
      run_program("sweep " + scenario() + " --quiet --set range_replicas=5 --out " + path("ranges"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("90 % range"));
  expect_refused(run_program("sweep " + scenario() + " --set range_replicas=-1 --out " + path("x")), "range_replicas");
}

TEST_F(StudyVerbs, AdviseSaysWhenToLoadAndWhatToRun) {
  write_text(path("w.json"), Json{{"kind", "prefix_pool"},
                                  {"prefix_tokens", 512},
                                  {"num_prefixes", 3},
                                  {"warmup_requests", 3},
                                  {"measured_requests", 4}}
                                 .dump());
  const std::string verb =
      "advise --profile a800-990pro --model qwen2.5-0.5b --quiet --trials 8 --jobs 2 --out " + path("advice");
  const ProgramResult result = run_program(verb + " --workload " + path("w.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("Load or recompute?"), HasSubstr("attention_store"),
                                   HasSubstr("ssd twice as fast"), HasSubstr("hypothetical")));
  EXPECT_EQ(Json::parse(read_text(path("advice/summary.json")))["search"]["trials"], 8);
  expect_refused(run_program(verb + " --workload " + path("w.json")), "has results already");
  const ProgramResult resumed = run_program(verb + " --resume --json --workload " + path("w.json"));
  EXPECT_EQ(Json::parse(resumed.output), Json::parse(read_text(path("advice/summary.json"))));
  expect_refused(run_program(verb + " --force --workload rtx"), "preset");
  expect_refused(run_program(verb + " --force --workload rte --objective best"), "--objective: found \"best\"");
  expect_refused(run_program(verb + " --force --workload rte --importance none"), "none");
}

}  // namespace
}  // namespace reprefill
