// The range of a row: same requests, other durations.
#include "sim/simulation/prediction_range.hpp"

#include <gmock/gmock.h>

namespace reprefill::sim {
namespace {

/// A closed pool on the datasheet profile with these residuals.
class Ranges : public testing::Test {
 protected:
  Scenario scenario(double sigma, int range_replicas, const Json& more = Json::object()) const {
    const auto part = [&](const char* from) { return Json{{"from", from}, {"residual_sigma", sigma}}; };
    Json json = {{"model", "qwen2.5-0.5b"},
                 {"profile",
                  {{"name", "a800-990pro"},
                   {"gpu", part("a800-990pro")},
                   {"ssd", part("a800-990pro")},
                   {"link", part("a800-990pro")}}},
                 {"systems", {"attention_store"}},
                 {"workload",
                  {{"kind", "prefix_pool"},
                   {"prefix_tokens", 1000},
                   {"suffix_tokens", 20},
                   {"num_prefixes", 6},
                   {"warmup_requests", 3},
                   {"measured_requests", 10}}},
                 {"mass_requests", 1},
                 {"range_replicas", range_replicas}};
    json.update(more);
    return read_scenario(json, "test.json", {}, context_);
  }
  Json range(const Scenario& scenario) { return prediction_range(scenario.points.front(), inputs_, options_); }
  Json row(const Scenario& scenario) { return run_point(scenario.points.front(), inputs_, options_).row; }

  const std::filesystem::path home_ = REPREFILL_SOURCE_DIR;
  const ScenarioContext context_{.models = home_ / "scenarios" / "models",
                                 .profiles = home_ / "calibrate" / "profiles",
                                 .traces = {},
                                 .samples = home_ / "traces" / "samples"};
  SharedInputs inputs_{context_};
  RunOptions options_{.num_warmup = 3};
};

double width(const Json& range) {
  return range["mean_ttft_ms"]["high"].get<double>() - range["mean_ttft_ms"]["low"].get<double>();
}

TEST_F(Ranges, HoldTheirOwnPredictionAndWidenWithTheResiduals) {
  const Scenario small = scenario(0.02, 30), large = scenario(0.2, 30);
  const double predicted = row(small)["ttft"]["mean_ttft_ms"].get<double>();
  const Json narrow = range(small), wide = range(large);
  EXPECT_LT(narrow["mean_ttft_ms"]["low"].get<double>(), predicted);
  EXPECT_GT(narrow["mean_ttft_ms"]["high"].get<double>(), predicted);
  EXPECT_GT(width(wide), 3 * width(narrow));
  EXPECT_EQ(narrow["replicas"], 30);
  EXPECT_EQ(narrow["level"], 0.9);
  // A model that is off by 2 % is off for every operation: averaging over hundreds does not make the range vanish. From
  // the 5th to the 95th percentile a normal spread has 3.3 sigma; a part of the TTFT is host time, which has none.
  EXPECT_GT(width(narrow) / predicted, 0.02);
}

TEST_F(Ranges, AreTheSameForTheSameSeed) {
  EXPECT_EQ(range(scenario(0.1, 8)), range(scenario(0.1, 8)));
  EXPECT_NE(range(scenario(0.1, 8)), range(scenario(0.1, 8, {{"seed", 2}})));
}

TEST_F(Ranges, AreNullWithoutReplicasOrResiduals) {
  EXPECT_TRUE(range(scenario(0.1, 0)).is_null());
  EXPECT_TRUE(range(scenario(0, 8)).is_null());
}

TEST_F(Ranges, HoldWhatAllOperationsShareOnceThatWasMeasured) {
  Scenario one = scenario(0.01, 40);
  const Json without = range(one);
  EXPECT_EQ(without["common_mode"], false);
  sim::CommonMode common{};
  one.points.front().profile.common_mode = common;
  const Json nothing = range(one);
  EXPECT_EQ(nothing["common_mode"], true);
  // Nothing is shared: hundreds of operations, each off by 1 %, average out.
  EXPECT_LT(width(nothing), 0.5 * width(without));
  for (CommonTerm CommonMode::*term : {&CommonMode::gpu, &CommonMode::ssd, &CommonMode::link}) {
    common.*term = {.sigma = 0.1, .num_sessions = 6};
  }
  one.points.front().profile.common_mode = common;
  EXPECT_GT(width(range(one)), 3 * width(without));
  // Where the host alone is uncertain, and its costs matter.
  common = {};
  common.host = {.sigma = 0.5, .num_sessions = 6};
  one.points.front().profile.common_mode = common;
  one.points.front().profile.host.first_token_cost = Nanoseconds{20'000'000};
  EXPECT_GT(width(range(one)), 5);  // ms
}

TEST_F(Ranges, OfOneReplicaIsThatReplica) { EXPECT_EQ(width(range(scenario(0.1, 1))), 0); }

TEST_F(Ranges, OfADatasheetProfileAreOnlyOnRequest) {
  const Json json = {{"model", "qwen2.5-0.5b"},
                     {"profile", "a800-990pro"},
                     {"systems", {"recompute"}},
                     {"workload", {{"kind", "prefix_pool"}, {"prefix_tokens", 100}}}};
  EXPECT_EQ(read_scenario(json, "test.json", {}, context_).points.front().range_replicas, 0u);
}

TEST_F(Ranges, ReplicasServeTheRequestsOfTheirPointAndOnlyDurationsDiffer) {
  const Scenario one = scenario(0.3, 5);
  RunOptions replica = options_;
  replica.range_replica = 4;
  const Json plain = row(one), drawn = run_point(one.points.front(), inputs_, replica).row;
  EXPECT_EQ(drawn["bytes_per_request"], plain["bytes_per_request"]);
  EXPECT_EQ(drawn["cache"]["decisions_digest"], plain["cache"]["decisions_digest"]);
  EXPECT_NE(drawn["ttft"]["mean_ttft_ms"], plain["ttft"]["mean_ttft_ms"]);
}

TEST_F(Ranges, KeptRequestsAreListedInTheRow) {
  const Json listed = row(scenario(0.1, 0, {{"keep_requests", true}}));
  ASSERT_EQ(listed["requests"]["ttft_ms"].size(), 10u);
  double sum = 0;
  for (const Json& value : listed["requests"]["ttft_ms"]) sum += value.get<double>();
  EXPECT_NEAR(sum / 10, listed["ttft"]["mean_ttft_ms"].get<double>(), 1e-9);
  EXPECT_FALSE(row(scenario(0.1, 0)).contains("requests"));
}

}  // namespace
}  // namespace reprefill::sim
