// `reprefill store build`, `store append` and `run` as a user calls them, on a tiny checkpoint.
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
using testing::HasSubstr;

/// 200 bytes of text: three whole blocks of 64 tokens and 8 tokens more, since every byte is a token.
std::string prefix_text(char first) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(first + i * i % 23);
  return text;
}

void write_model(const std::filesystem::path& folder, std::uint64_t seed) {
  test_support::write_checkpoint(folder, {.num_layers = 3,
                                          .hidden = 64,
                                          .num_query_heads = 4,
                                          .num_kv_heads = 2,
                                          .head_dim = 16,
                                          .intermediate = 96,
                                          .vocab = 300,
                                          .seed = seed});
  write_text(folder / "tokenizer.json", engine::test_support::tiny_tokenizer({}).dump());
}

/// A model, and a store with one prefix of it; made once.
class EngineVerbs : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryFolder;
    write_model(*shared_ / "model", 1);
    write_text(*shared_ / "prefix.txt", prefix_text('a'));
    write_text(*shared_ / "prompt.txt", prefix_text('a') + " and?");
    const ProgramResult built = build(path("store"), "--text " + path("prefix.txt"));
    ASSERT_EQ(built.exit_code, 0) << built.output;
  }
  static void TearDownTestSuite() { delete shared_; }

  static std::string path(const std::string& name) { return (*shared_ / name).string(); }
  static ProgramResult build(const std::string& store, const std::string& more) {
    return run_program("store build --quiet --threads 2 --model " + path("model") + " --store " + store + " " + more);
  }
  static ProgramResult append(const std::string& store, const std::string& more) {
    return run_program("store append --quiet --threads 2 --model " + path("model") + " --store " + store + " " + more);
  }
  /// The system and its prompt; a store unless `more` says which.
  static ProgramResult run(const std::string& more, const std::string& model = "model") {
    const std::string store = more.find("--store") == std::string::npos ? " --store " + path("store") : "";
    return run_program("run --threads 2 --model " + path(model) + store + " " + more);
  }
  static std::string prompt() { return "--prompt-file " + path("prompt.txt") + " "; }
  static std::size_t num_segments(const std::string& store) {
    return Json::parse(run_program("store list --json --store " + store).output)["segments"].size();
  }
  static void expect_refused(const ProgramResult& result, const std::string& text) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
  }

  TemporaryFolder folder_;

 private:
  static TemporaryFolder* shared_;
};
TemporaryFolder* EngineVerbs::shared_ = nullptr;

TEST_F(EngineVerbs, BuildStoresWholeBlocksAndSaysWhatIsLeft) {
  const std::string store = (folder_ / "store").string();
  const ProgramResult first = build(store, "--text " + path("prefix.txt"));
  ASSERT_EQ(first.exit_code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("Only whole blocks of 64 tokens"));
  EXPECT_EQ(num_segments(store), 1u);
  EXPECT_EQ(run_program("store verify --quiet --store " + store).exit_code, 0);
  // The same once more computes nothing; one that goes on after it is a segment below.
  const ProgramResult again = append(store, "--text " + path("prefix.txt"));
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(num_segments(store), 1u);
  const std::string longer = prefix_text('a') + prefix_text('b');
  write_text(folder_ / "more.jsonl",
             Json{{"prefix", longer}}.dump() + "\n" + Json{{"prefix", prefix_text('c')}}.dump() + "\n");
  const ProgramResult more = append(store, "--prefixes " + (folder_ / "more.jsonl").string());
  EXPECT_EQ(more.exit_code, 0) << more.output;
  EXPECT_EQ(num_segments(store), 3u);
  EXPECT_EQ(run_program("store verify --quiet --store " + store).exit_code, 0);
}

TEST_F(EngineVerbs, APrefixShorterThanABlockStoresNothing) {
  const std::string store = (folder_ / "store").string();
  write_text(folder_ / "short.txt", "only a few bytes");
  const ProgramResult result = build(store, "--text " + (folder_ / "short.txt").string());
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(num_segments(store), 0u);
}

TEST_F(EngineVerbs, MistakesOfStoreBuildAreExplained) {
  const std::string store = (folder_ / "store").string();
  expect_refused(run_program("store build --model /nowhere --store " + store + " --text " + path("prefix.txt")),
                 "/nowhere");
  expect_refused(build(store, "--text /nowhere.txt"), "/nowhere.txt");
  expect_refused(build(store, ""), "--text");
  expect_refused(build(store, "--text " + path("prefix.txt") + " --layouts nonsense"), "nonsense");
  write_text(folder_ / "bad.jsonl", "{\"suffix\": \"x\"}\n");
  expect_refused(build(store, "--prefixes " + (folder_ / "bad.jsonl").string()), "line 1");
  expect_refused(append(store, "--text " + path("prefix.txt")), "is not a store");
  write_model(folder_ / "other", 2);
  expect_refused(run_program("store append --model " + (folder_ / "other").string() + " --store " + path("store") +
                             " --text " + path("prefix.txt")),
                 path("store"));
  EXPECT_EQ(num_segments(path("store")), 1u) << "nothing was added to another model's store";
}

TEST_F(EngineVerbs, RunAnswersWithEverySystem) {
  for (const char* system : {"recompute", "resident", "attention_store", "as_h2o", "impress", "contiguous_kv"}) {
    const ProgramResult result = run(prompt() + "--max-tokens 3 --json --system " + system);
    ASSERT_EQ(result.exit_code, 0) << system << ": " << result.output;
    const Json json = Json::parse(result.output);
    EXPECT_EQ(json["resolved"]["system"], system);
    ASSERT_EQ(json["requests"].size(), 1u);
    const Json& request = json["requests"][0];
    EXPECT_EQ(request["prompt_tokens"], 205);
    EXPECT_EQ(request["stored_tokens"], std::string_view(system) == "recompute" ? 0 : 192);
    EXPECT_GE(request["ids"].size(), 1u);
    EXPECT_LE(request["ids"].size(), 3u);
    double parts = 0;
    for (const auto& [name, milliseconds] : request["time_ms"].items()) parts += milliseconds.get<double>();
    EXPECT_NEAR(parts, request["ttft_ms"].get<double>(), 1e-6) << system;
  }
}

TEST_F(EngineVerbs, SeveralSystemsAnswerOneAfterTheOtherAndTakeTheParametersThatTheyHave) {
  const ProgramResult two = run(prompt() + "--json --max-tokens 1 --system attention_store,impress --set budget=0.5");
  ASSERT_EQ(two.exit_code, 0) << two.output;
  const Json reports = Json::parse(two.output);
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0]["resolved"]["system"], "attention_store");
  EXPECT_EQ(reports[1]["resolved"]["params"]["budget"], "0.5");
  // recompute, resident, attention_store, as_h2o, impress, contiguous_kv; not oracle, nor presets.
  EXPECT_EQ(Json::parse(run(prompt() + "--json --max-tokens 1 --system all").output).size(), 6u);
  const std::string both = prompt() + "--system impress,as_h2o ";
  expect_refused(run(both + "--set budgt=0.5"), "budgt: none of the systems");
  expect_refused(run(both + "--timeline t.json"), "--timeline");
  expect_refused(run(both + "--record-importance t.rimp"), "--record-importance");
}

TEST_F(EngineVerbs, AtBudgetOneTheAnswerIsThatOfPlainPrefill) {
  const auto ids = [](const ProgramResult& result) { return Json::parse(result.output)["requests"][0]["ids"]; };
  const Json plain = ids(run(prompt() + "--json --system recompute"));
  for (const char* system : {"attention_store", "contiguous_kv --set budget=1", "impress --set budget=1",
                             "as_h2o --set budget=1", "contiguous_kv --set budget=1 --path prototype"}) {
    EXPECT_EQ(ids(run(prompt() + "--json --system " + system)), plain) << system;
  }
}

TEST_F(EngineVerbs, RunForPeoplePrintsTheTextThenWhereTheTimeWent) {
  const ProgramResult result = run(prompt() + "--max-tokens 2");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  for (const char* text : {"192 stored, 13 computed", "TTFT", "contiguous_kv on direct"}) {
    EXPECT_THAT(result.output, HasSubstr(text));
  }
}

TEST_F(EngineVerbs, TheTimelineOfSeveralInFlightIsWellFormed) {
  std::string requests;
  for (int i = 0; i < 5; ++i) {
    requests += Json{{"id", i}, {"prefix", prefix_text('a')}, {"suffix", " number " + std::to_string(i)}}.dump() + "\n";
  }
  write_text(folder_ / "requests.jsonl", requests);
  const std::string timeline = (folder_ / "timeline.json").string();
  const ProgramResult result = run("--requests " + (folder_ / "requests.jsonl").string() +
                                   " --in-flight 3 --max-tokens 1 --verify-reads --json --timeline " + timeline);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(Json::parse(result.output)["requests"].size(), 5u);
  const Json json = Json::parse(read_text(timeline));
  EXPECT_EQ(record::check_timeline(json), std::vector<std::string>{});
  EXPECT_GT(json["traceEvents"].size(), 50u);
}

TEST_F(EngineVerbs, AReplayedRunMakesTheDecisionsOfTheRecordedOne) {
  const std::string trace = (folder_ / "run.rimp").string();
  const std::string options = prompt() + "--max-tokens 1 --json --set budget=0.25 ";
  const ProgramResult first = run(options + "--record-importance " + trace);
  ASSERT_EQ(first.exit_code, 0) << first.output;
  const ProgramResult replay = run(options + "--selections " + trace);
  ASSERT_EQ(replay.exit_code, 0) << replay.output;
  const Json a = Json::parse(first.output), b = Json::parse(replay.output);
  EXPECT_EQ(a["decisions_digest"], b["decisions_digest"]);
  EXPECT_EQ(a["requests"][0]["bytes"], b["requests"][0]["bytes"]);
  EXPECT_EQ(a["requests"][0]["ids"], b["requests"][0]["ids"]);
}

TEST_F(EngineVerbs, ImpressServesFromAStoreThatItsOwnRecordingReordered) {
  const std::string store = (folder_ / "store").string(), trace = (folder_ / "run.rimp").string();
  ASSERT_EQ(build(store, "--text " + path("prefix.txt")).exit_code, 0);
  const std::string requests = (folder_ / "requests.jsonl").string();
  write_text(requests, Json{{"prompt", prefix_text('a') + " and?"}}.dump() + "\n" +
                           Json{{"prompt", prefix_text('a') + " or?"}}.dump() + "\n");
  const std::string impress = "--json --system impress --requests " + requests + " --max-tokens 4 --store " + store;
  const ProgramResult recorded = run(impress + " --set budget=1 --record-importance " + trace);
  ASSERT_EQ(recorded.exit_code, 0) << recorded.output;

  const std::string offline = impress + " --set reorder.io=offline --set reorder.calibration_requests=2 --set budget=1";
  expect_refused(run(offline), "reprefill store reorder --store " + store);
  const std::string reorder = "store reorder --quiet --store " + store + " --importance " + trace + " --model " +
                              path("model") + " --requests ";
  expect_refused(run_program(reorder + requests), "found 2 requests on segment");
  const std::string one = (folder_ / "one.jsonl").string();
  write_text(one, Json{{"prompt", prefix_text('a') + " and?"}}.dump() + "\n");
  expect_refused(run_program(reorder + one), "found 1 requests; " + trace + " has scores of request 1");
  const ProgramResult done = run_program(reorder + requests + " --calibration-requests 2");
  ASSERT_EQ(done.exit_code, 0) << done.output;

  const ProgramResult served = run(offline + " --verify-reads");
  ASSERT_EQ(served.exit_code, 0) << served.output;
  const Json a = Json::parse(recorded.output), b = Json::parse(served.output);
  ASSERT_EQ(b["requests"].size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(a["requests"][i]["ids"], b["requests"][i]["ids"]);
  expect_refused(run(impress + " --set reorder.io=offline"), "reorder.calibration_requests = 4");
  expect_refused(run(impress + " --set reorder.io=background"), "reorder.io: found background");
}

TEST_F(EngineVerbs, AppendErrorFollowsTheTurnsOfAConversation) {
  std::string lines;
  for (const char* more : {"", " and more and more and more and more and more and more and more and more and more"}) {
    lines += Json{{"prompt", prefix_text('a') + more}}.dump() + "\n";
  }
  const std::string turns = (folder_ / "turns.jsonl").string();
  write_text(turns, lines);
  const std::string command = "append-error --threads 2 --model " + path("model") + " --turns " + turns + " --stores ";
  const ProgramResult result =
      run_program(command + (folder_ / "s").string() + " --set budget=0.25 --json 2>/dev/null");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json json = Json::parse(result.output.substr(result.output.find('{')));
  ASSERT_EQ(json["turns"].size(), 2u);
  EXPECT_EQ(json["turns"][0]["stored_tokens"], 0);
  EXPECT_EQ(json["turns"][0]["appended_tokens"], 192);
  EXPECT_EQ(json["turns"][1]["stored_tokens"], 192);
  EXPECT_EQ(json["turns"][0]["relative_error_of_keys"]["mean"], 0.0);
  EXPECT_GT(json["turns"][1]["relative_error_of_keys"]["mean"].get<double>(), 0.0);
  expect_refused(run_program(command + (folder_ / "s").string()), "expected a new or empty one");
  expect_refused(run_program(command + (folder_ / "t").string() + " --system recompute"), "stores nothing");
}

TEST_F(EngineVerbs, MistakesOfRunAreExplained) {
  expect_refused(run_program("run --model /nowhere --system recompute --prompt x"), "/nowhere");
  expect_refused(run_program("run --system recompute --prompt x"), "--model");
  expect_refused(run(""), "--prompt");
  expect_refused(run("--prompt ''"), "--prompt");
  expect_refused(run("--prompt x --prompt-file " + path("prompt.txt")), "--prompt");
  expect_refused(run("--prompt-file /nowhere.txt"), "/nowhere.txt");
  expect_refused(run("--requests /nowhere.jsonl"), "/nowhere.jsonl");
  expect_refused(run("--prompt x --store /nowhere"), "/nowhere");
  expect_refused(run_program("run --model " + path("model") + " --prompt x"), "--store");
  expect_refused(run("--prompt x --system contiguus_kv"), "contiguous_kv");
  expect_refused(run("--prompt x --set budgt=0.5"), "budget");
  expect_refused(run("--prompt x --set budget=1.5"), "budget");
  expect_refused(run("--prompt x --set kv_layout.order=sideways"), "order");
  expect_refused(run("--prompt x --path tortuous"), "prototype");
  expect_refused(run("--prompt x --path-set queue_dept=3"), "queue_depth");
  expect_refused(run("--prompt x --in-flight 0"), "--in-flight");
  expect_refused(run("--prompt x --kv-dtype fp32"), "bf16");
  expect_refused(run("--prompt x --selections /nowhere.rimp"), "/nowhere.rimp");
  write_model(folder_ / "other", 2);
  expect_refused(run_program("run --prompt x --model " + (folder_ / "other").string() + " --store " + path("store")),
                 path("store"));
}

TEST_F(EngineVerbs, ALayoutThatTheStoreLacksIsNamedWithTheCommandThatWritesIt) {
  const std::string store = (folder_ / "store").string();
  ASSERT_EQ(build(store, "--text " + path("prefix.txt") + " --layouts layer-apart-64").exit_code, 0);
  const ProgramResult refused = run(prompt() + "--store " + store);
  expect_refused(refused, "reprefill store build");
  EXPECT_EQ(run(prompt() + "--max-tokens 1 --system attention_store --store " + store).exit_code, 0);
}

TEST_F(EngineVerbs, StagingThatOneReadCannotFitIsRefusedWithTheNumbers) {
  expect_refused(run(prompt() + "--set staging_bytes=4096"), "staging_bytes");
  expect_refused(run(prompt() + "--set workspace_bytes=4096"), "workspace_bytes");
}

TEST_F(EngineVerbs, DamageUnderVerifiedReadsIsAMachineError) {
  const std::string store = (folder_ / "store").string();
  ASSERT_EQ(build(store, "--text " + path("prefix.txt") + " --layouts layer-apart-64").exit_code, 0);
  const std::string key = Json::parse(run_program("store list --json --store " + store).output)["segments"][0]["key"];
  const std::string file = store + "/segments/" + key + "/layer-apart-64.kv";
  std::string bytes = read_text(file);
  bytes[4096 + 10] = static_cast<char>(bytes[4096 + 10] ^ 1);
  write_text(file, bytes);
  const std::string options = prompt() + "--max-tokens 1 --system attention_store --store " + store;
  const ProgramResult refused = run(options + " --verify-reads");
  EXPECT_EQ(refused.exit_code, 3) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr(file));
}

}  // namespace
}  // namespace reprefill
