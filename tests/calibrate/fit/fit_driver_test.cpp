#include "calibrate/fit/fit_driver.hpp"

#include <gtest/gtest.h>

namespace reprefill::calibrate {
namespace {

Measured probe(const char* system, double operations, double pieces, double busy) {
  return {.spec = {.id = system, .quantity = "driver", .shape = {{"system", system}}},
          .values = {{busy, busy, busy}, {operations}, {pieces}, {4000}, {9000}},
          .converged = true};
}

TEST(FitDriver, FindsBothCostsAndPredictsTheSystemThatWasLeftOut) {
  std::vector<Measured> cells;
  for (const auto& [name, operations, pieces] :
       {std::tuple{"a", 40.0, 0.0}, std::tuple{"b", 70.0, 6000.0}, std::tuple{"c", 90.0, 900.0}}) {
    cells.push_back(probe(name, operations, pieces, 3000 * operations + 250 * pieces));
  }
  const auto fit = fit_driver(cells);
  ASSERT_TRUE(fit.has_value());
  EXPECT_EQ(fit->costs, (sim::DriverCosts{.per_operation = Nanoseconds{3000},
                                          .per_piece = Nanoseconds{250},
                                          .start = Nanoseconds{4000},
                                          .notice = Nanoseconds{9000}}));
  ASSERT_EQ(fit->report.points.size(), 3u);
  for (const FitPoint& point : fit->report.points) EXPECT_NEAR(*point.held_out, point.measured, 1e-3 * point.measured);
}

TEST(FitDriver, NoCostIsNegative) {
  // More pieces in less time: pieces cost nothing, then.
  const auto fit = fit_driver({probe("a", 10, 0, 10'000), probe("b", 10, 1000, 9'000)});
  EXPECT_EQ(fit->costs.per_piece, Nanoseconds{0});
  EXPECT_GT(fit->costs.per_operation, Nanoseconds{0});
  const auto pieces_only = fit_driver({probe("a", 100, 1000, 1'000), probe("b", 10, 2000, 4'000)});
  EXPECT_EQ(pieces_only->costs.per_operation, Nanoseconds{0});
  EXPECT_GT(pieces_only->costs.per_piece, Nanoseconds{0});
}

TEST(FitDriver, AProbeThatWasNeverSeenAwakeSaysNothing) {
  const auto fit = fit_driver({probe("a", 10, 0, 0), probe("b", 10, 0, 20'000)});
  EXPECT_EQ(fit->costs.per_operation, Nanoseconds{2000});
  EXPECT_EQ(fit->report.points.size(), 1u);
  EXPECT_FALSE(fit_driver({probe("a", 10, 0, 0)}).has_value());
}

TEST(FitDriver, OneProbeOrNoneIsAnswered) {
  EXPECT_EQ(fit_driver({probe("a", 10, 0, 20'000)})->costs.per_operation, Nanoseconds{2000});
  EXPECT_FALSE(fit_driver({}).has_value());
}

}  // namespace
}  // namespace reprefill::calibrate
