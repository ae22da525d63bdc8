#include "calibrate/meter/statistics.hpp"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::calibrate {
namespace {

using testing::ElementsAre;

TEST(MeterStatistics, TheMedianOfAnEvenNumberLiesHalfWay) {
  EXPECT_EQ(median(std::vector<double>{4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median(std::vector<double>{7}), 7);
}

TEST(MeterStatistics, QuantilesInterpolateBetweenOrderStatistics) {
  const std::vector<double> values{0, 10, 20, 30, 40};
  EXPECT_EQ(quantile(values, 0), 0);
  EXPECT_EQ(quantile(values, 0.9), 36);
  EXPECT_EQ(quantile(values, 1), 40);
}

TEST(MeterStatistics, OfNothingThereIsNoMedian) { EXPECT_THROW(median({}), InvariantError); }

TEST(MeterStatistics, SpreadIsHalfTheRangeFromP10ToP90OverTheMedian) {
  // p10 = 4, p90 = 36, median 20
  EXPECT_DOUBLE_EQ(relative_spread(std::vector<double>{0, 10, 20, 30, 40}), 32.0 / 40.0);
  EXPECT_EQ(relative_spread(std::vector<double>{5, 5, 5}), 0);
}

TEST(MeterStatistics, AMedianIsNotKnownBelowSixSamples) {
  EXPECT_TRUE(std::isinf(median_uncertainty(std::vector<double>(5, 1.0))));
  EXPECT_EQ(median_uncertainty(std::vector<double>(6, 1.0)), 0);
}

TEST(MeterStatistics, TheMediansIntervalHoldsTheTrueMedianAsOftenAsItSays) {
  RandomStream random(1, 0, "interval");
  int covered = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values;
    for (int i = 0; i < 25; ++i) values.push_back(100 + random.exponential(1));  // skewed: median 100 + ln 2
    const double truth = 100 + std::log(2.0);
    // The interval is not symmetric; twice its half width around the sample's median contains it.
    covered += std::abs(median(values) - truth) <= 2 * median_uncertainty(values) * median(values) ? 1 : 0;
  }
  EXPECT_GT(covered, kTrials * 95 / 100);
}

TEST(MeterStatistics, UncertaintyFallsWithMoreSamples) {
  RandomStream random(2, 0, "samples");
  std::vector<double> few, many;
  for (int i = 0; i < 20; ++i) few.push_back(random.normal(100, 5));
  for (int i = 0; i < 2000; ++i) many.push_back(random.normal(100, 5));
  EXPECT_LT(median_uncertainty(many), median_uncertainty(few) / 4);
}

TEST(MeterStatistics, OutliersAreMarkedAndKept) {
  const std::vector<double> values{100, 101, 99, 100, 102, 98, 300};
  EXPECT_THAT(mark_outliers(values), ElementsAre(false, false, false, false, false, false, true));
  const Summary summary = summarise(values);
  EXPECT_EQ(summary.num_outliers, 1u);
  EXPECT_EQ(summary.num_samples, 7u);
  EXPECT_EQ(summary.maximum, 300);
  EXPECT_EQ(summary.median, 100);
}

TEST(MeterStatistics, TinyDeviationsOfASteadyClockAreNoOutliers) {
  EXPECT_THAT(mark_outliers(std::vector<double>{100, 100, 100, 104}), ElementsAre(false, false, false, false));
  EXPECT_THAT(mark_outliers(std::vector<double>{100, 100, 100, 106}), ElementsAre(false, false, false, true));
}

}  // namespace
}  // namespace reprefill::calibrate
