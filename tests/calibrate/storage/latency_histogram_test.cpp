#include "calibrate/storage/latency_histogram.hpp"

#include <gtest/gtest.h>

#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

TEST(LatencyHistogram, QuantilesAreWithinABucketOfTheTruth) {
  LatencyHistogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.add(i * 100.0);
  EXPECT_EQ(histogram.count(), 1000u);
  EXPECT_GE(histogram.quantile_ns(0.5), 50'000);
  EXPECT_LE(histogram.quantile_ns(0.5), 50'000 * 1.1);
  EXPECT_GE(histogram.quantile_ns(0.99), 99'000);
  EXPECT_LE(histogram.quantile_ns(0.99), 99'000 * 1.1);
}

TEST(LatencyHistogram, ASingleLatencyIsEveryQuantile) {
  LatencyHistogram histogram;
  histogram.add(1000);
  EXPECT_EQ(histogram.quantile_ns(0), histogram.quantile_ns(1));
}

TEST(LatencyHistogram, ATailOfOneInAThousandShowsInTheTailOnly) {
  LatencyHistogram histogram;
  for (int i = 0; i < 999; ++i) histogram.add(1000);
  histogram.add(1e6);
  EXPECT_LT(histogram.quantile_ns(0.99), 1100);
  EXPECT_GE(histogram.quantile_ns(1), 1e6);
}

TEST(LatencyHistogram, ComesBackFromJsonAndAdds) {
  LatencyHistogram a, b;
  a.add(0);  // below a nanosecond counts as one
  a.add(500);
  b.add(500);
  LatencyHistogram sum = LatencyHistogram::from_json(a.to_json());
  sum.add(b);
  EXPECT_EQ(sum.count(), 3u);
  EXPECT_EQ(sum.to_json()["71"], 2);  // 8 log2(500) = 71.7
}

TEST(LatencyHistogram, OfNothingThereIsNoQuantile) {
  EXPECT_THROW(LatencyHistogram().quantile_ns(0.5), InvariantError);
}

}  // namespace
}  // namespace reprefill::calibrate
