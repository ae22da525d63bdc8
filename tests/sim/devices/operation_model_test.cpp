#include "sim/devices/operation_model.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "sim/devices/noise.hpp"

namespace reprefill::sim {
namespace {

/// 1 TFLOP/s and 1 GB/s, of which half, a quarter, and half are reached.
GpuProfile plain_gpu() {
  GpuProfile gpu;
  gpu.peak_rate = FlopsPerSecond{1e12};
  gpu.memory_bandwidth = BytesPerSecond{1e9};
  gpu.gemm_efficiency = 0.5;
  gpu.attention_efficiency = 0.25;
  gpu.memory_efficiency = 0.5;
  return gpu;
}

TEST(OperationModel, TheSlowerOfComputeAndMemoryDecides) {
  const OperationModel model(plain_gpu());
  EXPECT_EQ(model.gemm({.flops = 5e8, .bytes_moved = Bytes{1000}}), Nanoseconds{1'000'000});
  EXPECT_EQ(model.gemm({.flops = 5e8, .bytes_moved = Bytes{1'000'000}}), Nanoseconds{2'000'000});
}

TEST(OperationModel, AttentionHasAnEfficiencyOfItsOwn) {
  const OperationModel model(plain_gpu());
  EXPECT_EQ(model.attention({.flops = 5e8, .bytes_moved = Bytes{1000}}), Nanoseconds{2'000'000});
  EXPECT_EQ(model.attention({.flops = 1, .bytes_moved = Bytes{1'000'000}}), Nanoseconds{2'000'000});
}

TEST(OperationModel, NoWorkTakesNoTime) { EXPECT_EQ(OperationModel(plain_gpu()).gemm({}), Nanoseconds{0}); }

TEST(OperationModel, AFractionOfANanosecondIsRoundedUp) {
  EXPECT_EQ(OperationModel(plain_gpu()).gemm({.flops = 1, .bytes_moved = Bytes{0}}), Nanoseconds{1});
}

TEST(Noise, IsOffUnlessAskedFor) {
  EXPECT_EQ(Noise().apply(Nanoseconds{1234}), Nanoseconds{1234});
  EXPECT_EQ(Noise(0, 1, 0, "noise/gpu").apply(Nanoseconds{1234}), Nanoseconds{1234});
}

TEST(Noise, HasTheMeanAndTheSpreadThatItSays) {
  // 40,000 draws: the mean of exp(N(-s^2/2, s)) is 1 within 5 s / 200, its logarithm's deviation is s.
  constexpr double kSigma = 0.2;
  constexpr int kDraws = 40'000;
  Noise noise(kSigma, 3, 0, "noise/ssd");
  double sum = 0, sum_log = 0, sum_log_squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double factor = static_cast<double>(noise.apply(Nanoseconds{1'000'000'000}).value) * 1e-9;
    sum += factor;
    sum_log += std::log(factor);
    sum_log_squares += std::log(factor) * std::log(factor);
  }
  EXPECT_NEAR(sum / kDraws, 1, 5 * kSigma / 200);
  const double mean_log = sum_log / kDraws;
  EXPECT_NEAR(mean_log, -0.5 * kSigma * kSigma, 5 * kSigma / 200);
  EXPECT_NEAR(std::sqrt(sum_log_squares / kDraws - mean_log * mean_log), kSigma, 0.005);
}

TEST(Noise, AModelErrorIsOneFactorForTheWholeReplica) {
  constexpr double kSigma = 0.1;
  const auto draws = [](std::uint64_t replica, Noise::Spread spread) {
    Noise noise(kSigma, 5, replica, "noise/gpu", spread);
    std::vector<double> values;
    for (int i = 0; i < 20; ++i) values.push_back(static_cast<double>(noise.apply(Nanoseconds{1'000'000'000}).value));
    return values;
  };
  double sum_squares = 0;
  for (std::uint64_t replica = 0; replica < 200; ++replica) {
    const std::vector<double> plain = draws(replica, Noise::Spread::each_operation);
    const std::vector<double> off = draws(replica, Noise::Spread::and_model_error);
    const double factor = off[0] / plain[0];
    for (std::size_t i = 1; i < plain.size(); ++i) EXPECT_NEAR(off[i] / plain[i], factor, 1e-8);
    sum_squares += std::log(factor) * std::log(factor);
  }
  EXPECT_NEAR(std::sqrt(sum_squares / 200), kSigma, 5 * kSigma / std::sqrt(400.0));
}

TEST(Noise, DevicesAndReplicasHaveStreamsOfTheirOwn) {
  const auto draws = [](std::uint64_t replica, const char* device) {
    Noise noise(0.1, 5, replica, device);
    std::vector<std::int64_t> values;
    for (int i = 0; i < 10; ++i) values.push_back(noise.apply(Nanoseconds{1'000'000}).value);
    return values;
  };
  EXPECT_EQ(draws(0, "noise/gpu"), draws(0, "noise/gpu"));
  EXPECT_NE(draws(0, "noise/gpu"), draws(1, "noise/gpu"));
  EXPECT_NE(draws(0, "noise/gpu"), draws(0, "noise/ssd"));
}

}  // namespace
}  // namespace reprefill::sim
