#include "core/record/ttft_statistics.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(NearestRank, AgreesWithExactIntegerRanks) {
  // ceil(p * n / 100) in integers: no rank may be off by one because p / 100 is no binary fraction.
  for (std::size_t n = 1; n <= 2000; ++n) {
    const std::vector<double> values = one_to(n);
    for (const std::size_t percentile : {1, 7, 28, 50, 55, 56, 90, 95, 99, 100}) {
      const std::size_t rank = (percentile * n + 99) / 100;
      ASSERT_EQ(nearest_rank(values, static_cast<double>(percentile)), static_cast<double>(rank))
          << "P" << percentile << " of " << n;
    }
  }
}

TEST(NearestRank, OfNothingIsABug) { EXPECT_THROW(nearest_rank({}, 50), InvariantError); }

TEST(TtftStatistics, OfNoRequestsAreEmptyAndOfOneAreThatOne) {
  EXPECT_TRUE(ttft_statistics({}, {}).empty());
  const Json json = ttft_statistics({3.5}, {.noise = true});
  for (const char* name :
       {"mean_ttft_ms", "median_ttft_ms", "p90_ttft_ms", "p95_ttft_ms", "min_ttft_ms", "max_ttft_ms"})
    EXPECT_EQ(json[name], 3.5) << name;
  EXPECT_EQ(json["std_ttft_ms"], 0.0);
}

TEST(TtftStatistics, ExtremesAndPercentilesDoNotDependOnTheOrderOfRequests) {
  std::vector<double> values = one_to(1000);
  std::reverse(values.begin(), values.end());
  const Json json = ttft_statistics(values, {.noise = true});
  EXPECT_EQ(json["min_ttft_ms"], 1.0);
  EXPECT_EQ(json["max_ttft_ms"], 1000.0);
  EXPECT_EQ(json["p90_ttft_ms"], 900.0);
  EXPECT_EQ(json["p95_ttft_ms"], 950.0);
}

TEST(TtftStatistics, P99NeedsAThousandRequests) {
  EXPECT_TRUE(ttft_statistics(one_to(999), {.noise = true})["p99_ttft_ms"].is_null());
  EXPECT_EQ(ttft_statistics(one_to(1000), {.noise = true})["p99_ttft_ms"], 990.0);
}

TEST(TtftStatistics, SayWhyThereIsNoTailWithOneRequestInFlightAndNoNoise) {
  const Json alone = ttft_statistics(one_to(1000), {.requests_in_flight = 1, .noise = false});
  for (const char* name : {"p90_ttft_ms", "p95_ttft_ms", "p99_ttft_ms"}) {
    ASSERT_TRUE(alone.contains(name)) << "every row has the same columns";
    EXPECT_TRUE(alone[name].is_null()) << name;
  }
  EXPECT_TRUE(alone.contains("p95_note"));
  EXPECT_EQ(alone["median_ttft_ms"], 500.0);

  const TtftOptions with_tail[] = {{.noise = true}, {.requests_in_flight = 2}, {.open_arrivals = true}};
  for (const TtftOptions& options : with_tail) {
    const Json json = ttft_statistics(one_to(1000), options);
    EXPECT_EQ(json["p95_ttft_ms"], 950.0);
    EXPECT_FALSE(json.contains("p95_note"));
  }
}

TEST(TtftStatistics, MeanAndDeviationByHand) {
  const Json json = ttft_statistics({2, 4, 4, 4, 5, 5, 7, 9}, {});
  EXPECT_EQ(json["mean_ttft_ms"], 5.0);
  EXPECT_EQ(json["std_ttft_ms"], 2.0);
  EXPECT_EQ(json["median_ttft_ms"], 4.0);
}

}  // namespace
}  // namespace reprefill::record
