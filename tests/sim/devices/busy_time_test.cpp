#include "sim/devices/busy_time.hpp"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace reprefill::sim {
namespace {

struct Edge {
  std::int64_t at = 0;
  bool begins = false;
};

std::int64_t busy(const std::vector<std::pair<int, int>>& services, std::int64_t until = 1000) {
  std::vector<Edge> edges;
  for (const auto& [start, end] : services) {
    edges.push_back({start, true});
    edges.push_back({end, false});
  }
  // A service of no length begins before it ends.
  std::stable_sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.at < b.at; });
  BusyTime time;
  for (const Edge& edge : edges) {
    if (edge.at > until) break;
    edge.begins ? time.begin(Nanoseconds{edge.at}) : time.end(Nanoseconds{edge.at});
  }
  return time.until(Nanoseconds{until}).value;
}

TEST(BusyTime, OfNothingIsNothing) {
  EXPECT_EQ(busy({}), 0);
  EXPECT_EQ(busy({{5, 5}}), 0);
}

TEST(BusyTime, IsTheUnionOfTheServices) {
  EXPECT_EQ(busy({{0, 10}, {20, 30}}), 20) << "apart";
  EXPECT_EQ(busy({{0, 10}, {10, 30}}), 30) << "touching";
  EXPECT_EQ(busy({{0, 10}, {5, 30}}), 30) << "overlapping";
  EXPECT_EQ(busy({{0, 30}, {5, 10}}), 30) << "inside";
  EXPECT_EQ(busy({{20, 30}, {0, 10}, {5, 22}}), 30) << "in any order";
}

TEST(BusyTime, BackgroundServiceThatEndsLateCountsFromItsBeginning) {
  // A write from 5 to 100 ends long after short reads that began later were over: nothing of it is clipped.
  EXPECT_EQ(busy({{0, 3}, {40, 50}, {5, 100}}), 98);
}

TEST(BusyTime, CountsWhatIsBeingServedUntilNow) {
  EXPECT_EQ(busy({{0, 10}, {20, 90}}, 30), 20);
  EXPECT_EQ(busy({{0, 10}, {20, 90}}, 20), 10);
  EXPECT_EQ(busy({{0, 10}, {20, 90}}, 15), 10);
}

TEST(BusyTime, OfRandomServicesIsTheNumberOfBusyNanoseconds) {
  RandomStream random(3, 0, "busy");
  for (int round = 0; round < 200; ++round) {
    std::vector<std::pair<int, int>> services;
    std::vector<bool> is_busy(200, false);
    for (std::uint64_t i = random.below(12); i > 0; --i) {
      const int start = static_cast<int>(random.below(150));
      const int end = start + static_cast<int>(random.below(50));
      services.emplace_back(start, end);
      std::fill(is_busy.begin() + start, is_busy.begin() + end, true);
    }
    ASSERT_EQ(busy(services), std::count(is_busy.begin(), is_busy.end(), true));
  }
}

TEST(BusyTime, AnEndWithoutABeginIsABug) {
  BusyTime time;
  EXPECT_THROW(time.end(Nanoseconds{1}), InvariantError);
}

}  // namespace
}  // namespace reprefill::sim
