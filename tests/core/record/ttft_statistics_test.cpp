#include "core/record/ttft_statistics.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace reprefill::record {
namespace {

std::vector<double> one_to(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

TEST(NearestRank, IsTheValueAtTheRoundedUpRank) {
  EXPECT_EQ(nearest_rank(one_to(100), 95), 95);
  EXPECT_EQ(nearest_rank(one_to(10), 95), 10);
  EXPECT_EQ(nearest_rank(one_to(10), 50), 5);
  EXPECT_EQ(nearest_rank({7}, 1), 7);
}

TEST(TtftStatistics, P99NeedsAThousandRequests) {
  EXPECT_TRUE(ttft_statistics(one_to(999), {})["p99_ttft_ms"].is_null());
  EXPECT_EQ(ttft_statistics(one_to(1000), {})["p99_ttft_ms"], 990.0);
}

TEST(TtftStatistics, SaysWhenP95IsNearlyTheMean) {
  EXPECT_TRUE(ttft_statistics({1, 2}, {.requests_in_flight = 1, .noise = false}).contains("p95_note"));
  EXPECT_FALSE(ttft_statistics({1, 2}, {.requests_in_flight = 1, .noise = true}).contains("p95_note"));
  EXPECT_FALSE(ttft_statistics({1, 2}, {.requests_in_flight = 2, .noise = false}).contains("p95_note"));
}

TEST(TtftStatistics, MeanAndDeviationByHand) {
  const Json json = ttft_statistics({2, 4, 4, 4, 5, 5, 7, 9}, {});
  EXPECT_EQ(json["mean_ttft_ms"], 5.0);
  EXPECT_EQ(json["std_ttft_ms"], 2.0);
  EXPECT_EQ(json["median_ttft_ms"], 4.0);
}

}  // namespace
}  // namespace reprefill::record
