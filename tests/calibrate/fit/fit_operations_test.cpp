#include "calibrate/fit/fit_operations.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/meter/statistics.hpp"
#include "core/base/random.hpp"

namespace reprefill::calibrate {
namespace {

ModelGeometry tiny() {
  ModelGeometry geometry;
  geometry.name = "tiny";
  geometry.num_layers = 2;
  geometry.hidden = 64;
  geometry.num_query_heads = 4;
  geometry.num_kv_heads = 2;
  geometry.head_dim = 16;
  geometry.intermediate = 96;
  geometry.vocab = 128;
  return geometry;
}

double attend_ns(double queries, double keys) { return 5000 + 40 * queries + 0.5 * keys + 0.02 * queries * keys; }

/// `noise` is the relative spread of samples around a law that tables can hold exactly.
std::vector<Measured> cells_of(const std::vector<double>& queries, const std::vector<double>& keys, double noise) {
  RandomStream random(1, 0, "cells");
  std::vector<Measured> cells;
  const auto samples = [&](double ns) {
    std::vector<double> values;
    for (int i = 0; i < 15; ++i) values.push_back(ns * (1 + noise * random.normal(0, 1)));
    return values;
  };
  for (const double q : queries) {
    for (const double k : keys) {
      Measured cell{.spec = {.id = "", .quantity = "layer", .shape = {{"model", "tiny"}, {"queries", q}, {"keys", k}}}};
      cell.values = {samples(1000 + 10 * q), samples(attend_ns(q, k))};
      if (k > 0) {
        cell.values.push_back(samples(2000 + 0.01 * q * k));
        cell.values.push_back(samples(1500 + 0.004 * q * k));
      }
      cell.converged = true;
      cells.push_back(std::move(cell));
    }
  }
  cells.push_back(
      {.spec = {.id = "", .quantity = "first_token", .shape = {{"model", "tiny"}}}, .values = {{700, 800, 900}}});
  return cells;
}

const FitReport& report_of(const OperationFit& fit, const std::string& name) {
  for (const FitReport& report : fit.reports) {
    if (report.name == name) return report;
  }
  throw std::runtime_error("no report " + name);
}

TEST(FitOperations, ALawThatTablesCanHoldIsFoundExactlyAndPredictedWhereItWasLeftOut) {
  const OperationFit fit = fit_operations(tiny(), cells_of({1, 16, 64, 256}, {0, 256, 1024, 4096}, 0), 2);
  EXPECT_NEAR(fit.tables.attend.at(100, 700).ns, attend_ns(100, 700), 1e-3);
  EXPECT_NEAR(fit.tables.project.at(100, 0).ns, 2000, 1e-3);
  EXPECT_EQ(fit.tables.first_token_ns, 800);
  EXPECT_EQ(fit.tables.probe_query_heads, 2);
  const FitReport& attend = report_of(fit, "attend/tiny");
  EXPECT_EQ(attend.points.size(), 16u);
  // All but the four corners, which nothing encloses.
  EXPECT_EQ(attend.held_out_errors().size(), 12u);
  EXPECT_LT(quantile(attend.held_out_errors(), 1), 1e-6);
}

TEST(FitOperations, ScoresHaveNoColumnWithoutKeys) {
  const OperationFit fit = fit_operations(tiny(), cells_of({1, 64}, {0, 256, 1024}, 0), 1);
  EXPECT_THAT(fit.tables.score.keys(), testing::ElementsAre(256, 1024));
  EXPECT_THAT(fit.tables.attend.keys(), testing::ElementsAre(0, 256, 1024));
}

TEST(FitOperations, NoisyMediansBecomeMonotoneAndResidualsShowIt) {
  const OperationFit fit = fit_operations(tiny(), cells_of({1, 2, 3, 4, 5, 6}, {0, 1, 2, 3}, 0.1), 1);
  const sim::DurationTable& table = fit.tables.attend;
  for (std::size_t q = 0; q < table.queries().size(); ++q) {
    for (std::size_t k = 0; k < table.keys().size(); ++k) {
      if (q > 0) {
        EXPECT_GE(table.value(q, k), table.value(q - 1, k));
      }
      if (k > 0) {
        EXPECT_GE(table.value(q, k), table.value(q, k - 1));
      }
    }
  }
  EXPECT_GT(median(report_of(fit, "attend/tiny").residuals()), 1e-4);
}

TEST(FitOperations, ALawThatBendsBetweenGridPointsShowsInTheHeldOutError) {
  std::vector<Measured> cells = cells_of({1, 16, 64, 256}, {0, 256, 1024}, 0);
  for (Measured& cell : cells) {
    if (cell.spec.quantity != "layer" || cell.spec.shape["queries"] != 64.0) continue;
    for (double& value : cell.values[1]) value *= 1.5;  // a tile's edge
  }
  const FitReport report = report_of(fit_operations(tiny(), cells, 1), "attend/tiny");
  EXPECT_GT(quantile(report.held_out_errors(), 1), 0.2);
}

TEST(FitOperations, ACornerBeyondTheModelsPositionsIsCutOffInWholeLines) {
  std::vector<Measured> cells = cells_of({1, 64, 2048}, {0, 256, 4096}, 0);
  std::erase_if(cells, [](const Measured& cell) {
    return cell.spec.quantity == "layer" && cell.spec.shape["queries"] == 2048.0 && cell.spec.shape["keys"] == 4096.0;
  });
  const OperationFit fit = fit_operations(tiny(), cells, 1);
  EXPECT_EQ(fit.tables.attend.queries().size() * fit.tables.attend.keys().size(), 6u);
}

TEST(FitOperations, OtherModelsCellsAreNotTaken) {
  std::vector<Measured> cells = cells_of({1, 64}, {0, 256}, 0);
  for (Measured& cell : cells) cell.spec.shape["model"] = "another";
  EXPECT_THROW(fit_operations(tiny(), cells, 1), ConfigError);
}

TEST(FitOperations, StallsRaiseTheTablesByThePooledMeanAndNotTheReports) {
  std::vector<Measured> cells = cells_of({1, 64}, {0, 256}, 0);
  const double quiet = fit_operations(tiny(), cells, 1).tables.attend.at(64, 256).ns;
  for (Measured& cell : cells) {
    if (cell.spec.quantity != "layer") continue;
    for (int i = 0; i < 3; ++i) cell.values[1][static_cast<std::size_t>(i)] *= 6;  // 3 of 15 samples
    cell.values[0][0] *= 1000;                                                     // counts as 8 medians
  }
  EXPECT_DOUBLE_EQ(mean_to_median(cells, "tiny", "layer", 1), 2);
  EXPECT_DOUBLE_EQ(mean_to_median(cells, "tiny", "layer", 0), (14.0 + 8) / 15);
  EXPECT_EQ(mean_to_median(cells, "another", "layer", 1), 1);
  const OperationFit fit = fit_operations(tiny(), cells, 1);
  EXPECT_NEAR(fit.tables.attend.at(64, 256).ns, 2 * quiet, 1e-6 * quiet);
  EXPECT_NEAR(report_of(fit, "attend/tiny").points.back().fitted, quiet, 1e-6 * quiet);
}

TEST(FitRoofline, MemoryIsNoSlowerThanACopyWhereTheHeadIsTooSmallToShowIt) {
  std::vector<Measured> cells = cells_of({1, 64}, {0, 256}, 0);
  const OperationFit fit = fit_operations(tiny(), cells, 1);
  const double from_head = fit_roofline({tiny()}, {fit}, cells).memory_bandwidth_bytes_per_s;
  EXPECT_LT(from_head, 1e11);  // 16 KiB in 800 ns
  cells.push_back(
      {.spec = {.id = "", .quantity = "copy", .shape = {{"bytes", 1e6}}}, .values = {{8000, 10000, 12000}}});
  EXPECT_DOUBLE_EQ(fit_roofline({tiny()}, {fit}, cells).memory_bandwidth_bytes_per_s, 1e11);
}

TEST(FitRoofline, IsTheBestRateThatWasMeasured) {
  const std::vector<Measured> cells = cells_of({1, 16, 64, 256}, {0, 256, 1024}, 0.05);
  const OperationFit fit = fit_operations(tiny(), cells, 1);
  const RooflineFit roofline = fit_roofline({tiny()}, {fit}, cells);
  // Scoring 256 queries against 1024 keys is the densest: 2 * 4 * 16 FLOPs a pair, two passes and the causal part.
  const double flops = 2.0 * 4 * 16 * (2.0 * 256 * 1024 + 256 * 257 / 2.0);
  EXPECT_NEAR(roofline.peak_flops_per_s, flops / (2000 + 0.01 * 256 * 1024) * 1e9, 0.1 * roofline.peak_flops_per_s);
  EXPECT_EQ(roofline.attention_efficiency, 1);
  EXPECT_LT(roofline.gemm_efficiency, 1);
  EXPECT_NEAR(roofline.residual_sigma, 0.05, 0.02);
}

TEST(ResidualSigma, OfNothingIsZero) { EXPECT_EQ(residual_sigma({}, "layer", 0), 0); }

}  // namespace
}  // namespace reprefill::calibrate
