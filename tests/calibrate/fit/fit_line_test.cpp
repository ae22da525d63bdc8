#include "calibrate/fit/fit_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprefill::calibrate {
namespace {

Measured transfer(double bytes, double ns) {
  return {.spec = {.id = "", .quantity = "copy", .shape = {{"bytes", bytes}}}, .values = {{ns, ns, ns}}};
}

TEST(FitLine, FindsTheLineThatPointsLieOn) {
  const Line line = fit_line({1000, 2000, 50000}, {600, 700, 5500});  // 500 ns + 0.1 ns a byte
  EXPECT_NEAR(line.latency_ns, 500, 1e-6);
  EXPECT_NEAR(line.ns_per_byte, 0.1, 1e-9);
}

TEST(FitLine, ALatencyIsNeverNegative) {
  const Line line = fit_line({1000, 2000}, {50, 200});
  EXPECT_EQ(line.latency_ns, 0);
  EXPECT_GT(line.ns_per_byte, 0);
}

TEST(FitLine, ErrorsAreRelativeSoThatSmallTransfersCount) {
  // One point 50 % off among the small ones weighs as much as one among the large.
  const Line line = fit_line({1000, 1000, 1e9}, {1000, 1000, 1.1e8});
  EXPECT_NEAR(line.at(1000), 1000, 1);
}

TEST(FitTransfers, InnerSizesArePredictedByTheOthers) {
  std::vector<Measured> cells;
  for (const double bytes : {4000.0, 1000.0, 64000.0, 16000.0}) cells.push_back(transfer(bytes, 100 + bytes / 8));
  cells.push_back({.spec = {.id = "", .quantity = "other"}, .values = {{1}}});
  const LineFit fit = fit_transfers(cells, "copy");
  EXPECT_NEAR(fit.line.latency_ns, 100, 1e-6);
  ASSERT_EQ(fit.report.points.size(), 4u);
  EXPECT_EQ(fit.report.points[0].shape["bytes"], 1000.0);  // by size
  EXPECT_FALSE(fit.report.points.front().held_out.has_value());
  EXPECT_NEAR(*fit.report.points[1].held_out, 600, 1e-6);
  EXPECT_FALSE(fit.report.points.back().held_out.has_value());
}

}  // namespace
}  // namespace reprefill::calibrate
