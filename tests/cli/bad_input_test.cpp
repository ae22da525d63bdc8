// Bad input: exit code 2, one message that names the file, the key's path, what was found and what is allowed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "tests/support/program.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::run_program;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::AllOf;
using testing::HasSubstr;

Json sound_scenario() {
  return {{"model", "qwen2.5-7b"},
          {"profile", "a800-990pro"},
          {"systems", {{{"name", "contiguous_kv"}, {"params", Json::object()}}}},
          {"workload", {{"kind", "prefix_pool"}, {"preset", "rte"}, {"order", "distinct"}, {"measured_requests", 1}}}};
}

class BadInput : public testing::Test {
 protected:
  /// Checks a scenario text; expects refusal with all of `parts` in one message.
  void expect_refused(const std::string& text, std::initializer_list<const char*> parts) {
    const std::filesystem::path file = folder_ / "bad.json";
    write_text(file, text);
    const ProgramResult result = run_program("check " + file.string());
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr("bad.json"));
    for (const char* part : parts) EXPECT_THAT(result.output, HasSubstr(part));
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  }
  void expect_refused(const Json& json, std::initializer_list<const char*> parts) {
    expect_refused(json.dump(), parts);
  }

  Json with_param(const char* key, const Json& value) {
    Json json = sound_scenario();
    json["systems"][0]["params"][key] = value;
    return json;
  }

  TemporaryFolder folder_;
};

TEST_F(BadInput, TheSoundScenarioOfTheseTestsIsSound) {
  write_text(folder_ / "good.json", sound_scenario().dump());
  const ProgramResult result = run_program("check " + (folder_ / "good.json").string());
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST_F(BadInput, UnknownKeysAreRefusedWithTheNearestName) {
  Json json = sound_scenario();
  json["sytems"] = json["systems"];
  expect_refused(json, {"sytems", "unknown key", "did you mean systems?"});
  expect_refused(with_param("chunk_token", 16), {"systems[0].params.chunk_token", "did you mean chunk_tokens?"});
}

TEST_F(BadInput, DuplicateKeysAreRefused) {
  expect_refused(std::string(R"({"model": "qwen2.5-7b", "model": "qwen2.5-14b"})"), {"model", "twice"});
}

TEST_F(BadInput, WrongTypesUnitsAndSizesAreRefused) {
  expect_refused(with_param("chunk_tokens", "sixteen"), {"chunk_tokens", "\"sixteen\"", "whole number"});
  expect_refused(with_param("chunk_tokens", 0), {"chunk_tokens", "found 0", "from 1"});
  expect_refused(with_param("chunk_tokens", 12), {"chunk_tokens", "found 12", "store_block_tokens", "192"});
  expect_refused(with_param("gpu_cache", "10 GB/s"), {"gpu_cache", "10 GB/s", "GiB"});
  expect_refused(with_param("gpu_cache", 10), {"gpu_cache", "found 10", "unit"});
  expect_refused(with_param("gpu_cache_bytes", -1), {"gpu_cache_bytes", "found -1"});
  expect_refused(with_param("gpu_cache_bytes", 1e30), {"gpu_cache_bytes", "1e+30"});
  expect_refused(with_param("intra_prefetch", "yes"), {"intra_prefetch", "true or false"});
  expect_refused(with_param("leader_keys", "reuze"), {"leader_keys", "did you mean reuse?"});
  expect_refused(with_param("cache_policy", "lrv"), {"cache_policy", "did you mean lru?"});
}

TEST_F(BadInput, BudgetsOutsideZeroToOneAreRefused) {
  for (const Json& budget : {Json(0), Json(-0.1), Json(1.5), Json("0"), Json("3/2"), Json("1/0"), Json("five")}) {
    expect_refused(with_param("budget", budget), {"budget"});
  }
}

TEST_F(BadInput, PeriodsLongerThanTheModelAreRefused) {
  expect_refused(with_param("period_layers", 29), {"period_layers", "found 29", "28 layers"});
  Json json = with_param("period_layers", 4);
  json["systems"][0]["params"]["subperiod_layers"] = 5;
  expect_refused(json, {"subperiod_layers", "found 5", "period_layers (4)"});
}

TEST_F(BadInput, MissingPartsAreNamed) {
  for (const char* key : {"model", "profile", "systems", "workload"}) {
    Json json = sound_scenario();
    json.erase(key);
    expect_refused(json, {key, "missing"});
  }
  Json json = sound_scenario();
  json["profile"] = "a800-990pr";
  expect_refused(json, {"profile", "did you mean a800-990pro?"});
  json = sound_scenario();
  json["model"] = "qwen2.5-8b";
  expect_refused(json, {"model", "qwen2.5-8b", "did you mean"});
  json = sound_scenario();
  json["systems"] = {"contigous_kv"};
  expect_refused(json, {"systems[0]", "did you mean contiguous_kv?"});
  json = sound_scenario();
  json["importance"] = {{"preset", "paper-5"}};
  expect_refused(json, {"importance.preset", "did you mean paper-5pct?"});
}

TEST_F(BadInput, MissingScenariosAndFoldersAreNamed) {
  EXPECT_THAT(run_program("check /nowhere/x.json").output,
              AllOf(HasSubstr("/nowhere/x.json"), HasSubstr("No such file")));
  EXPECT_EQ(run_program("check /nowhere/x.json").exit_code, 2);
  EXPECT_THAT(run_program("check /tmp").output, HasSubstr("is a folder"));
}

TEST_F(BadInput, GarbageAndDeepJsonAreRefused) {
  expect_refused(std::string("{\"model\": "), {"line 1"});
  expect_refused(std::string("\x01\x02garbage"), {"line 1"});
  expect_refused(std::string(100'000, '['), {"nested deeper"});
  expect_refused(std::string("{} {}"), {"line 1"});
  expect_refused(std::string("{\"seed\": 1e999}"), {"bad.json"});
}

TEST_F(BadInput, TracesAreCheckedLineByLine) {
  Json json = sound_scenario();
  json["workload"] = {{"kind", "trace"}, {"file", (folder_ / "trace.jsonl").string()}};
  const auto expect_trace_refused = [&](const std::string& trace, std::initializer_list<const char*> parts) {
    write_text(folder_ / "trace.jsonl", trace);
    const std::filesystem::path file = folder_ / "bad.json";
    write_text(file, json.dump());
    const ProgramResult result = run_program("check " + file.string());
    EXPECT_EQ(result.exit_code, 2) << result.output;
    for (const char* part : parts) EXPECT_THAT(result.output, HasSubstr(part));
  };
  const std::string good = R"({"timestamp": 5, "input_length": 600, "output_length": 1, "hash_ids": [1, 2]})";
  expect_trace_refused(good + "\n{\"timestamp\": 9", {"trace.jsonl:2"});
  expect_trace_refused(good + "\n" + R"({"timestamp": 4, "input_length": 1, "output_length": 1, "hash_ids": [1]})",
                       {"trace.jsonl:2", "timestamp"});
  expect_trace_refused("", {"trace.jsonl"});
  json["workload"]["file"] = "nowhere.jsonl";
  expect_refused(json, {"workload.file", "nowhere.jsonl"});
}

TEST_F(BadInput, TooSmallWorkspacesAreRefusedWithTheNumbers) {
  expect_refused(with_param("workspace", "1 MB"), {"workspace_bytes", "5952 stored tokens", "1000000"});
}

TEST_F(BadInput, UnknownAxesAndOverridesAreRefused) {
  Json json = sound_scenario();
  json["axes"] = {{"chunk_tokenz", {8, 16}}};
  expect_refused(json, {"axes.chunk_tokenz", "did you mean chunk_tokens?"});
  json["axes"] = {{"chunk_tokens", Json::array()}};
  expect_refused(json, {"chunk_tokens", "at least one"});
  write_text(folder_ / "good.json", sound_scenario().dump());
  EXPECT_EQ(run_program("check " + (folder_ / "good.json").string() + " --set nonsense").exit_code, 2);
  EXPECT_EQ(run_program("check " + (folder_ / "good.json").string() + " --set systems.impress.budget=1").exit_code, 2);
}

TEST_F(BadInput, UnknownVerbsAndOptionsAreInputErrors) {
  EXPECT_EQ(run_program("").exit_code, 2);
  EXPECT_EQ(run_program("swep x.json").exit_code, 2);
  EXPECT_EQ(run_program("sweep x.json --jbos 3").exit_code, 2);
}

}  // namespace
}  // namespace reprefill
