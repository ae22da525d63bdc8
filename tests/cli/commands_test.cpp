#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "core/record/timeline.hpp"
#include "tests/support/program.hpp"
#include "tests/support/shared_data.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::run_program;
using test_support::TemporaryFolder;
using testing::HasSubstr;

const std::string kSource = REPREFILL_SOURCE_DIR;

TEST(Commands, VersionAndHelpExitWithZero) {
  EXPECT_EQ(run_program("--version").exit_code, 0);
  EXPECT_THAT(run_program("--help").output, HasSubstr("sweep"));
  EXPECT_EQ(run_program("sweep --help").exit_code, 0);
}

TEST(Commands, SystemsListsEveryParameterWithDefaultsAndSource) {
  const ProgramResult result = run_program("systems --json");
  ASSERT_EQ(result.exit_code, 0);
  const Json json = Json::parse(result.output);
  EXPECT_EQ(json["systems"].size(), 10u);
  for (const Json& system : json["systems"]) {
    for (const Json& param : system["params"]) {
      EXPECT_FALSE(param["doc"].get<std::string>().empty()) << system["name"] << param["name"];
      EXPECT_TRUE(param.contains("default_prototype") && param.contains("default_direct"));
      EXPECT_FALSE(param["source"].get<std::string>().empty()) << system["name"] << param["name"];
    }
  }
  EXPECT_EQ(run_program("systems contiguous_kv").exit_code, 0);
  EXPECT_EQ(run_program("systems nothing").exit_code, 2);
}

TEST(Commands, EveryNumberOfTheShippedProfilesHasASource) {
  for (const std::string name : {"a800-990pro", "a100-intel-ssd", "rtx3090-s4500-sata"}) {
    const ProgramResult result = run_program("profile show " + name + " --json");
    ASSERT_EQ(result.exit_code, 0);
    const Json model = Json::parse(result.output)["model"];
    for (const char* part : {"gpu", "ssd", "link", "host"}) {
      for (const auto& [key, value] : model[part].items()) {
        if (key == "name" || key == "sources") continue;
        EXPECT_TRUE(model[part]["sources"].contains(key)) << name << ": " << part << "." << key;
      }
    }
    EXPECT_THAT(run_program("profile list").output, HasSubstr(name));
  }
}

TEST(Commands, CheckPrintsWhatIsInMemory) {
  const std::string check = "check " + kSource + "/scenarios/studies/reproduction-prism.json ";
  EXPECT_THAT(run_program(check).output, HasSubstr("weights                         15.231 GB"));
  EXPECT_THAT(run_program(check + "--set weights.bytes_per_param=1").output, HasSubstr("7.616 GB"));
  EXPECT_THAT(run_program(check + "--set model=qwen2.5-32b").output, HasSubstr("does not fit"));
  const std::string streamed = run_program(check + "--set weights.placement=stream_from_host").output;
  EXPECT_THAT(streamed, HasSubstr("weights of two layers"));
  EXPECT_EQ(run_program(check + "--set weights.bytes_per_param=5").exit_code, 2);
  EXPECT_EQ(run_program(check + "--set kv_element_bytes=3").exit_code, 2);
  EXPECT_EQ(run_program(check + "--set software_path=gdx").exit_code, 2);
}

TEST(Commands, TheReproductionsGridBecomesADocumentWithAllItsCells) {
  const TemporaryFolder folder;
  const std::string results = (folder / "prism").string();
  const ProgramResult swept = run_program(
      "sweep " + kSource + "/scenarios/studies/reproduction-prism.json --set workload.measured_requests=1 " +
      "--set workload.warmup_requests=0 --set mass_requests=0 --out " + results);
  ASSERT_EQ(swept.exit_code, 0) << swept.output;
  const std::string out = (folder / "prism.md").string();
  ASSERT_EQ(std::system((kSource + "/scripts/reproduction_prism " + results + " > " + out).c_str()), 0);
  const std::string text = test_support::read_text(out);
  for (const char* published : {"/ 926 (", "/ 1196* (", "/ 4605 (", "/ 5411 ("})
    EXPECT_THAT(text, HasSubstr(published));
  for (const char* data_set : {"SST-2", "SubJ", "TREC", "RTE"}) {
    for (const char* budget : {"5 %", "10 %", "25 %", "50 %"}) {
      EXPECT_THAT(text, HasSubstr(fmt::format("| {} {} | ", data_set, budget)));
    }
  }
}

TEST(Commands, ExplainSaysWhatContiguousKvGainsOnTheRteRequestAndWhere) {
  const std::string command = "explain " + kSource + "/scenarios/paper/headline.json --set workload.preset=rte";
  const ProgramResult result = run_program(command + " --json");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json json = Json::parse(result.output);
  EXPECT_EQ(json["served"]["system"], "contiguous_kv");
  ASSERT_EQ(json["others"].size(), 3u);
  for (const Json& other : json["others"]) {
    // On the prototype path, which pays for every object, nearly all of it is the SSD.
    EXPECT_GT(other["gain_ms"].get<double>(), 0) << other["label"];
    EXPECT_GT(other["gain_by_class_ms"]["ssd"].get<double>(), 0.8 * other["gain_ms"].get<double>()) << other["label"];
  }
  EXPECT_THAT(run_program(command).output, HasSubstr("contiguous_kv gains"));
  EXPECT_THAT(run_program(command + " --system nothing").output, HasSubstr("allowed:"));
  EXPECT_EQ(run_program(command + " --system nothing").exit_code, 2);
  EXPECT_EQ(run_program(command + " --steps").exit_code, 2);  // needs --json
}

TEST(Commands, TornadoSaysWhatAResultHangsOn) {
  const std::string command = "tornado " + kSource +
                              "/scenarios/paper/headline.json --set workload.preset=rte --set "
                              "workload.measured_requests=3 --system contiguous_kv";
  const ProgramResult result = run_program(command + " --json");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json json = Json::parse(result.output);
  ASSERT_GE(json["bars"].size(), 10u);
  for (std::size_t i = 1; i < json["bars"].size(); ++i) {
    EXPECT_GE(json["bars"][i - 1]["swing"].get<double>(), json["bars"][i]["swing"].get<double>());
  }
  EXPECT_EQ(run_program(command + " --over nothing").exit_code, 2);
  EXPECT_EQ(run_program(command + " --assumptions " + kSource + "/scenarios/quickstart.json").exit_code, 2);
}

TEST(Commands, EveryShippedScenarioIsSound) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kSource + "/scenarios")) {
    if (entry.path().extension() != ".json" || entry.path().parent_path().filename() == "models") continue;
    const bool needs_traces = test_support::read_text(entry.path()).find("$REPREFILL_TRACES") != std::string::npos;
    if (needs_traces && !test_support::find_trace_folder()) continue;
    const ProgramResult result = run_program("check " + entry.path().string());
    EXPECT_EQ(result.exit_code, 0) << result.output;
  }
}

TEST(Commands, TheSchemaNamesEverySystemAndKey) {
  const Json schema = Json::parse(run_program("schema").output);
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_TRUE(schema["properties"].contains("zipped_axes"));
  EXPECT_THAT(schema.dump(), HasSubstr("inter_trigger_layer"));
}

TEST(Commands, TraceStatisticsGiveTheNumbersOfThePublicTracesReadme) {
  const auto folder = test_support::find_trace_folder();
  if (!folder) GTEST_SKIP() << test_support::kNoTraceFolder;
  const std::string file = (*folder / "mooncake-conversation" / "conversation_trace.first7000.jsonl").string();
  const ProgramResult result = run_program("trace stats --json " + file);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  for (const char* number : {"7000", "175239", "114470"}) EXPECT_THAT(result.output, HasSubstr(number));
}

TEST(Commands, ConvertedTracesReadAsMooncake) {
  const TemporaryFolder folder;
  const std::string file = (folder / "b.jsonl").string();
  std::string text;
  for (const char* ids : {"[1, 2, 3]", "[1, 2, 4]"}) {
    text += fmt::format(R"({{"timestamp": 1.5, "input_length": 48, "output_length": 1, "hash_ids": {}}})", ids) + "\n";
  }
  test_support::write_text(file, text);
  const std::string out = (folder / "m.jsonl").string();
  const ProgramResult converted =
      run_program("trace convert --format bailian --to-block-tokens 16 --out " + out + " " + file);
  ASSERT_EQ(converted.exit_code, 0) << converted.output;
  EXPECT_THAT(test_support::read_text(out), HasSubstr(R"("timestamp": 1500, "input_length": 48)"));
  const ProgramResult stats = run_program("trace stats --json --block-tokens 16 " + out);
  ASSERT_EQ(stats.exit_code, 0) << stats.output;
  EXPECT_EQ(Json::parse(stats.output)["num_distinct_blocks"], 4);
  EXPECT_EQ(run_program("trace convert --format bailian --to-block-tokens 24 --out " + out + " " + file).exit_code, 2);
  EXPECT_EQ(run_program("trace convert --format bailian --to vllm --out " + out + " " + file).exit_code, 2)
      << "no tokenizer";
  EXPECT_THAT(run_program("trace stats --format parquet " + file).output, HasSubstr("mooncake, agentic, bailian"));
}

TEST(Commands, TheGeneratorMakesAReadableTrace) {
  const TemporaryFolder folder;
  const std::string file = (folder / "t.jsonl").string();
  ASSERT_EQ(run_program("trace generate --num-requests 50 --seed 3 --out " + file).exit_code, 0);
  EXPECT_EQ(Json::parse(run_program("trace stats --json " + file).output).dump().find("error"), std::string::npos);
}

TEST(Commands, ImportanceStatisticsStandBesideTheirTargets) {
  const ProgramResult result = run_program("trace importance --preset paper-5pct --samples 4 --json");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("target"));
  EXPECT_EQ(run_program("trace importance --preset nothing").exit_code, 2);
}

TEST(Commands, SimulateWritesATimelineWithoutOverlapsOnALane) {
  const TemporaryFolder folder;
  const std::string file = (folder / "timeline.json").string();
  for (const char* system : {"attention_store", "as_h2o", "impress", "contiguous_kv"}) {
    const ProgramResult result =
        run_program("simulate " + kSource +
                    "/scenarios/paper/headline.json --set repeats=1 --set workload.measured_requests=2 "
                    "--set systems='[\"" +
                    system + "\"]' --timeline " + file);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const Json timeline = Json::parse(test_support::read_text(file));
    EXPECT_EQ(record::check_timeline(timeline), std::vector<std::string>{});
    EXPECT_GT(timeline["traceEvents"].size(), 100u);
  }
}

}  // namespace
}  // namespace reprefill
