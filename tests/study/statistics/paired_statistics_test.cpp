#include "study/statistics/paired_statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace reprefill::study {
namespace {

TEST(WilsonInterval, IsThatOfTheFormulaByHand) {
  // p = 0.9, n = 10, z = 1.96: centre (0.9 + 0.19208) / 1.38416, half width 1.96 sqrt(0.009 + 0.0096040) / 1.38416.
  const Interval interval = wilson_interval(9, 10);
  EXPECT_NEAR(interval.low, 0.5958, 1e-3);
  EXPECT_NEAR(interval.high, 0.9821, 1e-3);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
  EXPECT_EQ(wilson_interval(0, 5).low, 0);
  EXPECT_EQ(wilson_interval(5, 5).high, 1);
}

TEST(McNemar, IsTheExactBinomialTest) {
  EXPECT_EQ(mcnemar_p_value(0, 0), 1);
  EXPECT_NEAR(mcnemar_p_value(0, 5), 2.0 / 32, 1e-12);
  EXPECT_NEAR(mcnemar_p_value(1, 5), 2.0 * 7 / 64, 1e-12);
  EXPECT_EQ(mcnemar_p_value(4, 4), 1);
  EXPECT_EQ(mcnemar_p_value(7, 2), mcnemar_p_value(2, 7));
}

TEST(ClusterBootstrap, IsWiderWhereQuestionsShareAPrefix) {
  std::vector<double> values;
  std::vector<std::size_t> apart, together;
  for (std::size_t i = 0; i < 200; ++i) {
    values.push_back(i / 10 % 2 == 0 ? 1.0 : 0.0);  // alike within a prefix
    apart.push_back(i);
    together.push_back(i / 10);
  }
  const Interval narrow = cluster_bootstrap_mean(values, apart, 1), wide = cluster_bootstrap_mean(values, together, 1);
  EXPECT_LT(narrow.low, 0.5);
  EXPECT_GT(narrow.high, 0.5);
  EXPECT_NEAR(narrow.high - narrow.low, 2 * 1.96 * std::sqrt(0.25 / 200), 0.03);
  EXPECT_NEAR(wide.high - wide.low, 2 * 1.96 * std::sqrt(0.25 / 20), 0.08);
  const Interval again = cluster_bootstrap_mean(values, together, 1);
  EXPECT_EQ(again.low, wide.low);
  EXPECT_EQ(again.high, wide.high);
}

TEST(ClusterBootstrap, OfEqualValuesIsThatValue) {
  const std::vector<double> values(7, 0.25);
  const std::vector<std::size_t> clusters = {0, 0, 1, 1, 2, 2, 2};
  const Interval interval = cluster_bootstrap_mean(values, clusters, 3);
  EXPECT_DOUBLE_EQ(interval.low, 0.25);
  EXPECT_DOUBLE_EQ(interval.high, 0.25);
}

}  // namespace
}  // namespace reprefill::study
