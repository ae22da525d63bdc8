// The judging of a point, where the "real" machine is a simulated one whose faults are known.
#include "study/compare/point_comparison.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill::study {
namespace {

using testing::HasSubstr;

class PointComparisonTest : public testing::Test {
 protected:
  PointComparisonTest()
      : importance_(traces::importance_preset("paper-5pct", "test").params,
                    {.num_kv_heads = 2, .probe_kv_heads = {0, 0, 0}}, 11) {
    const Json name = "contiguous_kv";
    const Json params = {{"gpu_cache_bytes", 1'500'000},
                         {"host_cache_bytes", 1'500'000},
                         {"prefetch_gpu_bytes", 300'000},
                         {"prefetch_host_bytes", 300'000},
                         {"budget", 0.25}};
    options_ = {.system = "contiguous_kv",
                .system_params = pipeline::find_system(JsonValue(name, "test"))
                                     .resolve(JsonValue(params, "test"), pipeline::PathKind::direct),
                .path = pipeline::default_software_path(pipeline::PathKind::direct),
                .geometry = test_support::small_model(),
                .segment_tokens = [](SegmentId) { return test_support::kStoredTokens; },
                .importance = &importance_};
    for (std::uint32_t number = 0; number < kWarmup + kMeasured; ++number) {
      pipeline::Request request;
      request.id = number;
      request.importance_id = number;
      request.task = number % test_support::kNumPrefixes;
      request.stored_prefix = {{SegmentId{number % test_support::kNumPrefixes}, test_support::kStoredTokens}};
      request.stored_tokens = test_support::kStoredTokens;
      request.own_tokens = 30;
      request.prompt_tokens = test_support::kStoredTokens + 30;
      requests_.push_back(request);
    }
  }
  MachineRun run(const sim::Profile& profile, const SimulatedSessionOptions& options) const {
    return simulate_requests(options, profile, requests_, kWarmup);
  }
  PointComparison compare(std::span<const MachineRun> repeats, bool timing_dependent = false,
                          std::uint64_t range_replicas = 0) const {
    return compare_point({.simulation = options_,
                          .profile = profile_,
                          .requests = requests_,
                          .num_warmup = kWarmup,
                          .repeats = repeats,
                          .timing_dependent = timing_dependent,
                          .range_replicas = range_replicas,
                          .judgement = {}});
  }

  static constexpr std::size_t kWarmup = 3, kMeasured = 8;
  traces::SyntheticImportance importance_;
  SimulatedSessionOptions options_;
  sim::Profile profile_ = test_support::datasheet_profile();
  std::vector<pipeline::Request> requests_;
};

TEST_F(PointComparisonTest, AMachineThatIsTheModelHasNoError) {
  const std::vector<MachineRun> repeats(3, run(profile_, options_));
  const PointComparison comparison = compare(repeats);
  EXPECT_EQ(comparison.ttft.error, 0.0);
  EXPECT_TRUE(comparison.equality.is_equal);
  for (const auto* cells : {&comparison.requests, &comparison.classes, &comparison.spans}) {
    for (const Cell& cell : *cells) {
      EXPECT_EQ(cell.verdict, CellVerdict::within) << cell.name;
      EXPECT_EQ(cell.predicted_ms, cell.real_ms) << cell.name;
    }
  }
  ASSERT_EQ(comparison.requests.size(), kMeasured);
  EXPECT_EQ(comparison.requests.front().name, std::to_string(kWarmup));
}

TEST_F(PointComparisonTest, ASlowerDriveShowsInItsClassAndIsTheWorstSpan) {
  sim::Profile slow = profile_;
  slow.ssd.read_latency = slow.ssd.read_latency * 40;
  const std::vector<MachineRun> repeats(3, run(slow, options_));
  const PointComparison comparison = compare(repeats);
  EXPECT_LT(*comparison.ttft.error, -0.05);
  EXPECT_EQ(comparison.ttft.verdict, CellVerdict::outside);
  EXPECT_EQ(comparison.worst_class, "ssd");
  EXPECT_THAT(comparison.worst_span, HasSubstr("read"));
  EXPECT_TRUE(comparison.is_io_bound);
  EXPECT_TRUE(comparison.equality.is_equal) << "durations change no decision";
  for (const Cell& cell : comparison.classes) {
    if (cell.name == "scoring") {
      EXPECT_EQ(cell.verdict, CellVerdict::within);
    }
  }
}

TEST_F(PointComparisonTest, ASlowerGpuIsComputeBoundAndShowsInItsClass) {
  sim::Profile slow = profile_;
  slow.gpu.operation_overhead = Nanoseconds{1'000'000};
  const std::vector<MachineRun> repeats(3, run(slow, options_));
  const PointComparison comparison = compare(repeats);
  EXPECT_FALSE(comparison.is_io_bound);
  EXPECT_EQ(comparison.worst_class, "gpu_compute");
  EXPECT_THAT(comparison.worst_span, HasSubstr("on gpu_compute"));
}

TEST_F(PointComparisonTest, OneByteMoreInOneRepeatIsFoundAndNamed) {
  std::vector<MachineRun> repeats(3, run(profile_, options_));
  repeats[2].requests[5].account["payload_read_bytes"] =
      repeats[2].requests[5].account["payload_read_bytes"].get<std::uint64_t>() + 1;
  PointComparison comparison = compare(repeats);
  EXPECT_FALSE(comparison.equality.is_equal);
  EXPECT_THAT(comparison.equality.first_difference, HasSubstr("repeat 2: /accounts/5/payload_read_bytes was"));

  repeats.assign(3, run(profile_, options_));
  repeats[0].warmup_accounts[1]["num_reads"] = 0;
  EXPECT_THAT(compare(repeats).equality.first_difference, HasSubstr("/warmup_accounts/1/num_reads"));

  repeats.assign(3, run(profile_, options_));
  repeats[1].decisions_digest = "0123456789abcdef";
  EXPECT_THAT(compare(repeats).equality.first_difference, HasSubstr("decisions_digest"));
}

TEST_F(PointComparisonTest, WhatDependsOnTimeIsNotChecked) {
  std::vector<MachineRun> repeats(2, run(profile_, options_));
  repeats[0].decisions_digest = "0123456789abcdef";
  const PointComparison comparison = compare(repeats, /*timing_dependent=*/true);
  EXPECT_FALSE(comparison.equality.is_checked);
  EXPECT_TRUE(comparison.equality.first_difference.empty());
  ASSERT_EQ(comparison.distribution.size(), 3u);
  EXPECT_EQ(comparison.distribution[1].name, "p50");
  EXPECT_EQ(comparison.distribution_distance, 0.0);
}

TEST_F(PointComparisonTest, ThePartsThatAreLeftOutExplainTheirShare) {
  const std::vector<MachineRun> repeats(3, run(profile_, options_));
  const PointComparison comparison = compare(repeats);
  std::map<std::string, double> error;
  for (const AlternativePrediction& alternative : comparison.alternatives) {
    error[alternative.name] = *alternative.mean.error;
    EXPECT_EQ(alternative.requests.size(), kMeasured);
  }
  ASSERT_EQ(error.size(), 5u);
  EXPECT_EQ(error["minus_interference"], 0.0) << "the datasheet profile has none";
  EXPECT_GT(error["minus_depth"], 0.0) << "reads one after the other take longer";
  EXPECT_LT(error["minus_software_path"], 0.0) << "calls cost nothing";
  EXPECT_LT(error["naive_bandwidth_and_flops"], error["naive_per_object_linear"]);
}

TEST_F(PointComparisonTest, AProfileWithoutResidualsHasNoRange) {
  profile_.gpu.residual_sigma = profile_.ssd.residual_sigma = profile_.link.residual_sigma = 0;
  const std::vector<MachineRun> repeats = {run(profile_, options_)};
  EXPECT_TRUE(compare(repeats, /*timing_dependent=*/false, 5).ranges.empty());
}

TEST_F(PointComparisonTest, TheRangeCoversAMachineThatIsOffAsItsResidualsSay) {
  // Forty machines, each off in its own way; the range is drawn with another seed.
  SimulatedSessionOptions truth = options_;
  truth.uncertain = true;
  truth.seed = 99;
  std::size_t inside = 0, total = 0;
  for (std::uint64_t machine = 0; machine < 40; ++machine) {
    truth.replica = machine;
    const std::vector<MachineRun> repeats = {run(profile_, truth)};
    for (const RangeCoverage& range : compare(repeats, /*timing_dependent=*/true, 60).ranges) {
      inside += range.inside;
      total += range.total;
    }
  }
  EXPECT_EQ(total, 40u);
  EXPECT_GE(inside, 30u);  // 90 % of forty are 36
  // A machine that is slower than its residuals allow is not covered.
  sim::Profile slow = profile_;
  slow.gpu.operation_overhead = slow.gpu.operation_overhead * 2;
  const std::vector<MachineRun> repeats = {run(slow, options_)};
  EXPECT_EQ(compare(repeats, /*timing_dependent=*/true, 60).ranges.front().inside, 0u);
}

}  // namespace
}  // namespace reprefill::study
