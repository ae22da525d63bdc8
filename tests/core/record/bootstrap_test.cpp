#include "core/record/bootstrap.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "core/base/random.hpp"

namespace reprefill::record {
namespace {

TEST(BootstrapInterval, NeedsThreeReplicas) {
  EXPECT_FALSE(bootstrap_interval({}));
  EXPECT_FALSE(bootstrap_interval(std::vector<double>{1, 2}));
  EXPECT_TRUE(bootstrap_interval(std::vector<double>{1, 2, 3}));
}

TEST(BootstrapInterval, OfEqualReplicasIsThatValue) {
  EXPECT_EQ(bootstrap_interval(std::vector<double>{7, 7, 7, 7}), std::pair(7.0, 7.0));
}

TEST(BootstrapInterval, HoldsTheMeanAndStaysWithinTheValues) {
  const std::vector<double> values = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto [low, high] = *bootstrap_interval(values);
  EXPECT_LT(low, 31.0 / 8);
  EXPECT_GT(high, 31.0 / 8);
  EXPECT_GE(low, 1);
  EXPECT_LE(high, 9);
  EXPECT_EQ(bootstrap_interval(values), std::pair(low, high));
}

TEST(BootstrapInterval, HoldsTheTrueMeanAboutAsOftenAsItSays) {
  int times_inside = 0;
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    RandomStream stream(trial, 0, "test/bootstrap");
    std::vector<double> values;
    for (int i = 0; i < 30; ++i) values.push_back(stream.normal(10, 2));
    const auto [low, high] = *bootstrap_interval(values);
    times_inside += low <= 10 && 10 <= high;
  }
  // 95 % of 200 is 190; the percentile bootstrap of 30 values covers a little less.
  EXPECT_GE(times_inside, 178);
  EXPECT_LE(times_inside, 199);
}

}  // namespace
}  // namespace reprefill::record
