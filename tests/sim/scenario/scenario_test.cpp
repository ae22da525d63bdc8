#include "sim/scenario/scenario.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "sim/scenario/axes.hpp"
#include "tests/support/temporary_folder.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::sim {
namespace {

const std::filesystem::path kHome = REPREFILL_SOURCE_DIR;

ScenarioContext context() {
  return {.models = kHome / "scenarios" / "models",
          .profiles = kHome / "calibrate" / "profiles",
          .traces = {},
          .samples = kHome / "traces" / "samples"};
}

Json base() {
  return {{"model", "qwen2.5-7b"},
          {"profile", "a800-990pro"},
          {"systems", {"recompute", "contiguous_kv"}},
          {"workload", {{"kind", "prefix_pool"}, {"preset", "rte"}}}};
}

Scenario read(const Json& json, const std::vector<Override>& overrides = {}) {
  const ScenarioContext where = context();
  return read_scenario(json, "test.json", overrides, where);
}

TEST(Scenario, CombinesSharedAndOwnAxesAndCollapsesWhatASystemDoesNotDeclare) {
  Json json = base();
  json["axes"] = {{"software_path", {"prototype", "direct"}}, {"budget", {0.05, 0.25}}};
  json["systems"][1] = {{"name", "contiguous_kv"}, {"axes", {{"chunk_tokens", {8, 16, 32}}}}};
  const Scenario scenario = read(json);
  ASSERT_EQ(scenario.points.size(), 2u * (1 + 2 * 3));
  EXPECT_TRUE(scenario.points[0].axes["budget"].is_null());
  for (std::size_t i = 0; i < scenario.points.size(); ++i) EXPECT_EQ(scenario.points[i].index, i);
  EXPECT_EQ(scenario.axis_names, (std::vector<std::string>{"software_path", "budget", "chunk_tokens"}));
}

TEST(Scenario, ZippedAxesAdvanceTogether) {
  Json json = base();
  json["zipped_axes"] = {{{"gpu_cache", {"1 GB", "2 GB"}}, {"host_cache", {"3 GB", "4 GB"}}}};
  const Scenario scenario = read(json);
  ASSERT_EQ(scenario.points.size(), 3u);
  EXPECT_EQ(scenario.points[2].system_params["gpu_cache_bytes"], 2'000'000'000u);
  EXPECT_EQ(scenario.points[2].system_params["host_cache_bytes"], 4'000'000'000u);
  json["zipped_axes"][0]["host_cache"] = {"3 GB"};
  EXPECT_THROW(read(json), ConfigError);
}

TEST(Scenario, OverridesWinAndSeveralValuesMakeAnAxis) {
  EXPECT_EQ(read(base(), {parse_override("seed=9")}).points[0].seed, 9u);
  EXPECT_EQ(read(base(), {parse_override("budget=0.05,0.1,1/3")}).points.size(), 4u);
  EXPECT_EQ(
      read(base(), {parse_override("profile.ssd.read_bandwidth=14 GB/s")}).points[0].profile.ssd.read_bandwidth.value,
      14e9);
  EXPECT_EQ(read(base(), {parse_override("software_path.object_fixed_cost=1 ms"),
                          parse_override("software_path.kind=prototype")})
                .points[0]
                .path.object_fixed_cost,
            Nanoseconds{1'000'000});
  EXPECT_EQ(
      read(base(), {parse_override("systems.contiguous_kv.period_layers=4")}).points[1].system_params["period_layers"],
      4);
  EXPECT_THROW(parse_override("=1"), ConfigError);
  EXPECT_THROW(parse_override("seed"), ConfigError);
}

TEST(Scenario, DefaultsFollowTheSoftwarePath) {
  Json json = base();
  json["axes"] = {{"software_path", {"prototype", "direct"}}};
  const Scenario scenario = read(json);
  EXPECT_EQ(scenario.points[1].system_params["leader_keys"], "reread");
  EXPECT_EQ(scenario.points[3].system_params["leader_keys"], "reuse");
  EXPECT_EQ(scenario.points[1].path.queue_depth, 1u);
  EXPECT_EQ(scenario.points[3].path.queue_depth, 128u);
}

TEST(Scenario, BlocksFollowTheChunkUnlessTheyAreNamed) {
  EXPECT_EQ(read(base(), {parse_override("chunk_tokens=32")}).points[1].system_params["kv_layout"]["block_tokens"], 32);
  const Scenario named = read(base(), {parse_override("chunk_tokens=16"), parse_override("kv_layout.block_tokens=64")});
  EXPECT_EQ(named.points[1].system_params["kv_layout"]["block_tokens"], 64);
}

TEST(Scenario, ReplicasShareEverythingButTheirNumber) {
  const Scenario scenario = read(base(), {parse_override("repeats=3")});
  ASSERT_EQ(scenario.points.size(), 6u);
  Json first = scenario.points[0].resolved, second = scenario.points[1].resolved;
  EXPECT_NE(first, second);
  first.erase("replica");
  second.erase("replica");
  EXPECT_EQ(first, second);
}

TEST(Scenario, RefusesTooManySettingsBeforeItMakesThem) {
  Json json = base();
  Json many = Json::array();  // five axes of them are more settings than any memory holds
  for (int value = 1; value <= 500; ++value) many.push_back(value);
  const auto expect_refusal = [&] {
    try {
      read(json);
      FAIL();
    } catch (const ConfigError& error) {
      EXPECT_STREQ(error.what(), "test.json: more than 1000000 points");
    }
  };
  for (const char* key : {"seed", "mass_requests", "range_replicas", "store_block_tokens", "repeats"}) {
    json["axes"][key] = many;
  }
  expect_refusal();
  json.erase("axes");
  json["systems"][1] = {{"name", "contiguous_kv"}, {"axes", Json::object()}};
  for (const char* key : {"chunk_tokens", "period_layers", "subperiod_layers", "budget", "gpu_cache_bytes"}) {
    json["systems"][1]["axes"][key] = many;
  }
  expect_refusal();
}

TEST(SetPath, ReplacesTheOtherFormOfADimensionalKey) {
  Json json = {{"gpu_cache_bytes", 5}};
  set_path(json, "gpu_cache", "1 GB");
  EXPECT_EQ(json, (Json{{"gpu_cache", "1 GB"}}));
  set_path(json, "gpu_cache_bytes", 7);
  EXPECT_EQ(json, (Json{{"gpu_cache_bytes", 7}}));
  json = {{"software_path", "direct"}};
  set_path(json, "software_path.queue_depth", 4);
  EXPECT_EQ(json["software_path"], (Json{{"kind", "direct"}, {"queue_depth", 4}}));
}

TEST(ScenarioFuzz, MutatedScenariosAreRefusedOrReadButNeverCrash) {
  std::mt19937 random(17);
  for (const auto& entry : std::filesystem::directory_iterator(kHome / "tests" / "fuzz" / "corpus" / "scenario")) {
    const std::string text = test_support::read_text(entry.path());
    for (int round = 0; round < 400; ++round) {
      std::string mutated = text;
      for (int i = 0; i < 1 + round % 4; ++i) {
        const std::size_t at = random() % mutated.size();
        switch (random() % 3) {
          case 0:
            mutated[at] = static_cast<char>(random() % 256);
            break;
          case 1:
            mutated.erase(at, random() % 20);
            break;
          default:
            mutated.insert(at, text.substr(random() % text.size(), random() % 30));
        }
      }
      EXPECT_NO_THROW(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(mutated.data()), mutated.size()))
          << mutated;
    }
  }
}

}  // namespace
}  // namespace reprefill::sim
