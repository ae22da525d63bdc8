// What a row says about distributions, objectives, I/O and space, against what else it says.
#include "sim/simulation/result_row.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/simulation/run_point.hpp"

namespace reprefill::sim {
namespace {

class Row : public testing::Test {
 protected:
  Row() {
    const std::filesystem::path source = REPREFILL_SOURCE_DIR;
    context_ = {
        .models = source / "scenarios/models", .profiles = source / "calibrate/profiles", .traces = {}, .samples = {}};
    json_ = {{"name", "small"},
             {"model", "qwen2.5-0.5b"},
             {"profile", "a800-990pro"},
             {"systems", {"contiguous_kv"}},
             {"workload",
              {{"kind", "prefix_pool"},
               {"prefix_tokens", 1024},
               {"num_prefixes", 5},
               {"warmup_requests", 3},
               {"measured_requests", 20}}},
             {"slo_ttft_ms", {0.001, 3, 1e6}}};
  }
  Json row() {
    const Scenario scenario = read_scenario(json_, "small.json", {}, context_);
    SharedInputs inputs(context_);
    return run_point(scenario.points.front(), inputs, {.num_warmup = 3}).row;
  }
  ScenarioContext context_;
  Json json_;
};

TEST_F(Row, CountsEveryReadOfTheMeasuredRequestsOnce) {
  for (const char* system : {"contiguous_kv", "attention_store", "impress"}) {
    json_["systems"] = {system};
    json_["workload"]["order"] = "distinct";
    json_["workload"]["num_prefixes"] = 23;
    const Json result = row();
    double reads = 0;
    for (const Json& bucket : result.at("io").at("read_sizes_bytes")) reads += bucket.at(1).get<double>();
    // Prefetch of a request may still run when the next one begins, and of the last when all is over; not here: every
    // read ends before the first token.
    EXPECT_DOUBLE_EQ(reads / 20, result.at("bytes_per_request").at("read_requests").get<double>()) << system;
    double shares = 0;
    for (const Json& bucket : result.at("io").at("queue_depths")) shares += bucket.at(1).get<double>();
    EXPECT_NEAR(shares, 1, 1e-12) << system;
  }
}

TEST_F(Row, APrototypeHasOneReadInFlight) {
  json_["software_path"] = "prototype";
  const Json depths = row().at("io").at("queue_depths");
  ASSERT_EQ(depths.size(), 1u);
  EXPECT_EQ(depths[0], Json::array({1, 1.0}));
}

TEST_F(Row, ObjectivesAreMetByWhoIsInTime) {
  const Json result = row();
  EXPECT_EQ(result.at("slo_attainment").at("0.001_ms"), 0.0);
  EXPECT_EQ(result.at("slo_attainment").at("1000000_ms"), 1.0);
  json_["slo_ttft_ms"] = {result.at("ttft").at("median_ttft_ms")};  // "at most" includes it
  EXPECT_GE(row().at("slo_attainment").front().get<double>(), 0.5);
  json_.erase("slo_ttft_ms");
  EXPECT_FALSE(row().contains("slo_attainment"));
}

TEST_F(Row, ObjectivesAreChecked) {
  for (const Json& bad : {Json(5), Json({0}), Json({-1}), Json({"fast"}), Json(std::vector<int>(17, 5))}) {
    json_["slo_ttft_ms"] = bad;
    EXPECT_THAT([&] { row(); }, testing::ThrowsMessage<ConfigError>(testing::HasSubstr("slo_ttft_ms"))) << bad;
  }
}

TEST_F(Row, DecilesAscendAndTheLastIsATail) {
  const Json ttft = row().at("ttft");
  const Json& deciles = ttft.at("deciles_ttft_ms");
  ASSERT_EQ(deciles.size(), 9u);
  EXPECT_TRUE(deciles[8].is_null());  // one in flight, no noise
  EXPECT_EQ(deciles[4], ttft.at("median_ttft_ms"));
  for (std::size_t i = 1; i < 8; ++i) EXPECT_LE(deciles[i - 1], deciles[i]);
}

TEST_F(Row, SpaceAddsUp) {
  for (const char* system : {"contiguous_kv", "attention_store", "impress"}) {
    json_["systems"] = {system};
    const Json result = row();
    const Json& space = result.at("space");
    const auto bytes = [&](const char* key) { return space.at(key).get<std::uint64_t>(); };
    EXPECT_EQ(bytes("file_bytes_per_prefix"),
              bytes("kv_bytes_per_prefix") + bytes("auxiliary_bytes_per_prefix") + bytes("padding_bytes_per_prefix"));
    EXPECT_EQ(bytes("file_bytes_per_prefix") * 5, result.at("workload").at("store_bytes")) << system;
    EXPECT_EQ(bytes("auxiliary_bytes_per_prefix") > 0, std::string(system) != "attention_store") << system;
  }
}

}  // namespace
}  // namespace reprefill::sim
