// Verdicts, by hand.
#include "sim/simulation/request_statistics.hpp"

#include <gtest/gtest.h>

namespace reprefill::sim {
namespace {

/// Requests that arrive a second apart and wait as told (in milliseconds).
RequestStatistics waits(const std::vector<int>& wait_ms, std::uint64_t waiting_at_last_arrival = 0) {
  RequestStatistics statistics;
  for (std::size_t i = 0; i < wait_ms.size(); ++i) {
    const Nanoseconds arrival{static_cast<std::int64_t>(i) * 1'000'000'000};
    const Nanoseconds admission = arrival + Nanoseconds{wait_ms[i] * 1'000'000};
    statistics.requests.push_back({arrival, admission, admission + Nanoseconds{5'000'000}});
  }
  statistics.waiting_at_last_arrival = waiting_at_last_arrival;
  return statistics;
}

TEST(Verdict, OfNoRequestsAndOfNoWaitsIsStable) {
  EXPECT_STREQ(RequestStatistics{}.verdict(), "STABLE");
  EXPECT_STREQ(waits(std::vector<int>(100, 0)).verdict(), "STABLE");
}

TEST(Verdict, MoreThanEightWaitingAtTheLastArrivalIsABacklog) {
  EXPECT_STREQ(waits(std::vector<int>(100, 0), 8).verdict(), "STABLE");
  EXPECT_STREQ(waits(std::vector<int>(100, 0), 9).verdict(), "BACKLOGGED");
}

TEST(Verdict, OfManyRequestsOnePercentMayWaitAtTheLastArrival) {
  EXPECT_STREQ(waits(std::vector<int>(2000, 0), 20).verdict(), "STABLE");
  EXPECT_STREQ(waits(std::vector<int>(2000, 0), 21).verdict(), "BACKLOGGED");
}

TEST(Verdict, AMeanWaitThatMoreThanDoublesFromTheSecondToTheLastQuarterIsABacklog) {
  EXPECT_STREQ(waits({0, 0, 10, 20, 0, 0, 30, 30}).verdict(), "STABLE") << "means of 15 and 30: twice, not over";
  EXPECT_STREQ(waits({0, 0, 10, 20, 0, 0, 30, 31}).verdict(), "BACKLOGGED");
  EXPECT_STREQ(waits({99, 99, 10, 20, 99, 99, 30, 30}).verdict(), "STABLE") << "the other quarters do not count";
}

TEST(Verdict, ShrinkingWaitsAreStable) { EXPECT_STREQ(waits({80, 70, 60, 50, 40, 30, 20, 10}).verdict(), "STABLE"); }

}  // namespace
}  // namespace reprefill::sim
