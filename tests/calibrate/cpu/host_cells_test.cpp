#include "calibrate/cpu/host_cells.hpp"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "calibrate/cpu/interference_cells.hpp"

namespace reprefill::calibrate {
namespace {

double sample_of(const std::unique_ptr<Cell>& cell) {
  cell->prepare();
  cell->sample();
  const double value = cell->sample().values.at(0);
  cell->finish();
  return value;
}

TEST(HostCells, EveryCellGivesATimeAndLargerWorkTakesLonger) {
  SteadyClock clock;
  std::map<std::string, std::vector<double>> by_quantity;
  for (const auto& cell : host_cells(false, nullptr, clock)) {
    by_quantity[cell->spec().quantity].push_back(sample_of(cell));
  }
  for (const char* quantity : {"copy", "hand_over", "select", "look_up", "cache_update"}) {
    ASSERT_FALSE(by_quantity[quantity].empty()) << quantity;
    for (const double ns : by_quantity[quantity]) EXPECT_GT(ns, 0) << quantity;
  }
  // 4 KiB to 16 MiB and 64 to 4096 candidates: factors that no disturbance hides.
  EXPECT_GT(by_quantity["copy"].back(), by_quantity["copy"].front());
  EXPECT_GT(by_quantity["select"].back(), by_quantity["select"].front());
  EXPECT_FALSE(by_quantity.contains("tokenise"));
}

TEST(InterferenceCells, PairsThatNeverMeetAreNotMeasured) {
  SteadyClock clock;
  std::vector<std::string> ids;
  for (const auto& cell : interference_cells({.has_storage = true, .has_compute = true}, clock)) {
    ids.push_back(cell->spec().id);
  }
  EXPECT_EQ(ids.size(), 11u);  // 4 x 4, less three with themselves and the two of compute with compute
  EXPECT_EQ(std::ranges::count(ids, "interference/gemm/by/attention"), 0);
  EXPECT_EQ(std::ranges::count(ids, "interference/copy/by/copy"), 1);
  EXPECT_EQ(interference_cells({}, clock).size(), 1u);
}

TEST(InterferenceCells, CopiesBesideCopiesGiveAFactor) {
  SteadyClock clock;
  const auto cells = interference_cells({}, clock);
  EXPECT_GT(sample_of(cells.at(0)), 0.1);
}

}  // namespace
}  // namespace reprefill::calibrate
