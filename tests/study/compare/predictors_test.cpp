// The formulas by hand, and what each ablation leaves out and what it keeps.
#include "study/compare/predictors.hpp"

#include <gtest/gtest.h>

#include "core/model/costs.hpp"
#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill::study {
namespace {

/// A GPU on which `flops` take one second, a drive of 1 GB/s.
sim::Profile profile_of(double flops_per_s) {
  sim::Profile profile = test_support::datasheet_profile();
  profile.gpu.peak_rate = FlopsPerSecond{2 * flops_per_s};
  profile.gpu.gemm_efficiency = 0.5;
  profile.gpu.operation_overhead = Nanoseconds{1000};
  profile.ssd.read_bandwidth = BytesPerSecond{1e9};
  profile.ssd.read_latency = Nanoseconds{70'000};
  profile.ssd.num_devices = 1;
  profile.host.submission_cost = Nanoseconds{1500};
  profile.host.completion_cost = Nanoseconds{500};
  return profile;
}

class Formulas : public testing::Test {
 protected:
  Formulas() {
    request_.own_tokens = 30;
    request_.stored_tokens = 640;
    const OperationCosts costs(geometry_);
    // 64 kept tokens in each of ten layers, K and V counted apart.
    pipeline::RequestAccount account;
    account.kv_tokens_kept = 2 * 10 * 64;
    account.payload_requested = Bytes{3'000'000};
    account.identification_requested = Bytes{1'000'000};
    account.num_reads = 10;
    account.num_identifications = 2;
    account_ = account_json(account);
    flops_ =
        10 * (costs.project(30).flops + costs.attend_linear(30).flops + costs.attend_attention(30, 0, 64, 64).flops) +
        2 * costs.score(30, 640, 8, 2).flops + costs.first_token().flops;
    profile_ = profile_of(flops_);
  }
  FormulaInput input(const pipeline::SoftwarePath& path) const {
    return {.geometry = geometry_, .profile = profile_, .path = path, .request = request_, .account = account_};
  }

  ModelGeometry geometry_ = test_support::small_model();
  pipeline::Request request_;
  Json account_;
  double flops_ = 0;
  sim::Profile profile_;
};

TEST_F(Formulas, BandwidthAndFlopsIsTheirSum) {
  // 4 MB at 1 GB/s and one second of FLOPs.
  EXPECT_NEAR(to_seconds(bandwidth_and_flops(input({}))), 1.004, 1e-8);
  profile_.ssd.num_devices = 2;
  EXPECT_NEAR(to_seconds(bandwidth_and_flops(input({}))), 1.002, 1e-8);
}

TEST_F(Formulas, PerObjectLinearAddsACostForEveryReadAndOperation) {
  pipeline::SoftwarePath path;
  path.object_fixed_cost = Nanoseconds{30'000};
  // 10 reads of 70 + 30 + 2 us; 2 x 10 + 2 x 2 + 1 operations of 1 us.
  EXPECT_NEAR(to_seconds(per_object_linear(input(path))), 1.004 + 10 * 102e-6 + 25e-6, 1e-8);
  path.charge_submission = false;
  EXPECT_NEAR(to_seconds(per_object_linear(input(path))), 1.004 + 10 * 100e-6 + 25e-6, 1e-8);
}

TEST_F(Formulas, ARequestWithoutReadsCostsItsFlops) {
  account_ = account_json({});
  EXPECT_LT(to_seconds(bandwidth_and_flops(input({}))), 1.0);
  EXPECT_GT(to_seconds(bandwidth_and_flops(input({}))), 0.0);
}

TEST(Ablations, EachLeavesOutItsPartAndNothingElse) {
  sim::Profile profile = profile_of(1e12);
  profile.interference = {{sim::Activity::gemm, sim::Activity::ssd_read, 1.2}};
  const pipeline::SoftwarePath path = pipeline::default_software_path(pipeline::PathKind::prototype);
  const std::vector<AblatedModel> models = ablated_models(profile, path);
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0].name, "minus_interference");
  EXPECT_TRUE(models[0].profile.interference.empty());
  EXPECT_EQ(models[0].profile.ssd.num_channels, profile.ssd.num_channels);

  EXPECT_EQ(models[1].name, "minus_depth");
  EXPECT_EQ(models[1].profile.ssd.num_channels, 1u);
  EXPECT_EQ(models[1].profile.interference.size(), 1u);

  EXPECT_EQ(models[2].name, "minus_software_path");
  EXPECT_EQ(models[2].profile.host.submission_cost, Nanoseconds{0});
  EXPECT_EQ(models[2].profile.gpu.operation_overhead, Nanoseconds{0});
  EXPECT_EQ(models[2].path.object_fixed_cost, Nanoseconds{0});
  EXPECT_EQ(models[2].path.compute_overhead_per_request, Nanoseconds{0});
  // What is read, and how it is merged, must stay the same.
  EXPECT_EQ(models[2].path.queue_depth, path.queue_depth);
  EXPECT_EQ(models[2].path.merge_reads, path.merge_reads);
  EXPECT_EQ(models[2].path.copy_per_object, path.copy_per_object);
  EXPECT_EQ(models[2].profile.ssd.read_latency, profile.ssd.read_latency);
}

}  // namespace
}  // namespace reprefill::study
