#include "calibrate/fit/fit_masks.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/meter/statistics.hpp"

namespace reprefill::calibrate {
namespace {

ModelGeometry tiny() {
  ModelGeometry geometry;
  geometry.name = "tiny";
  return geometry;
}

double plain_ns(double queries, double keys) { return 5000 + 40 * queries + 2 * keys; }
double mask_ns(double queries, double keys) { return 0.5 * keys + 0.01 * queries * keys; }

Measured cell_of(double queries, double keys, const char* mask, double share, double masked_ns, double plain_ns) {
  return {
      .spec =
          {.id = "",
           .quantity = "attend_masked",
           .shape = {{"model", "tiny"}, {"queries", queries}, {"keys", keys}, {"mask", mask}, {"kept_share", share}}},
      .values = {{masked_ns, masked_ns, masked_ns}, {plain_ns, plain_ns, plain_ns}},
      .converged = true};
}

std::vector<Measured> grid(const char* mask, const std::vector<double>& queries, const std::vector<double>& keys) {
  std::vector<Measured> cells;
  for (const double q : queries) {
    for (const double k : keys) {
      cells.push_back(cell_of(q, k, mask, kMaskShare, plain_ns(q, k) + mask_ns(q, k), plain_ns(q, k)));
    }
  }
  return cells;
}

TEST(FitMasks, WhatAMaskAddsIsFoundBetweenItsCellsAndDownToNoTokenAtAll) {
  const MaskFit fit = fit_masks(tiny(), grid("values", {16, 64, 256}, {1024, 2048, 4096}));
  ASSERT_TRUE(fit.values);
  EXPECT_FALSE(fit.keys) << "no cell was measured";
  EXPECT_NEAR(fit.values->at(100, 3000).ns, mask_ns(100, 3000), 1e-6);
  EXPECT_NEAR(fit.values->at(16, 512).ns, mask_ns(16, 512), 1e-6);
  EXPECT_EQ(fit.values->at(64, 0).ns, 0);
  ASSERT_EQ(fit.reports.size(), 1u);
  EXPECT_EQ(fit.reports[0].name, "attend_mask_values/tiny");
  // All but the two corners beside no other cell; tokens reach down to none.
  EXPECT_EQ(fit.reports[0].held_out_errors().size(), 7u);
  EXPECT_LT(quantile(fit.reports[0].held_out_errors(), 1), 1e-9);
}

TEST(FitMasks, AnotherShareJudgesAndDoesNotFit) {
  std::vector<Measured> cells = grid("keys", {16, 64}, {1024, 2048});
  cells.push_back(cell_of(64, 2048, "keys", 1, 2 * (plain_ns(64, 2048) + mask_ns(64, 2048)), plain_ns(64, 2048)));
  const MaskFit fit = fit_masks(tiny(), cells);
  EXPECT_NEAR(fit.keys->at(64, 2048).ns, mask_ns(64, 2048), 1e-6);
  EXPECT_NEAR(quantile(fit.reports.at(0).held_out_errors(), 1), 0.5, 1e-9);
}

TEST(FitMasks, AMaskThatSavesTimeCostsNothing) {
  const MaskFit fit = fit_masks(tiny(), {cell_of(16, 1024, "values", kMaskShare, 900, 1000)});
  EXPECT_EQ(fit.values->at(16, 1024).ns, 0);
}

TEST(FitMasks, OtherModelsAndHolesInTheGridGiveNone) {
  std::vector<Measured> cells = grid("keys", {16, 64}, {1024, 2048});
  cells.pop_back();
  EXPECT_FALSE(fit_masks(tiny(), cells).keys);
  ModelGeometry other = tiny();
  other.name = "other";
  EXPECT_FALSE(fit_masks(other, grid("keys", {16}, {1024})).keys);
}

TEST(JudgePages, HoldsOtherPagesAgainstTheTable) {
  const sim::DurationTable attend({1, 64}, {0, 2048}, {1000, 2000, 1000, 2000});
  EXPECT_FALSE(judge_pages(tiny(), {}, attend));
  const Measured cell{.spec = {.id = "",
                               .quantity = "attend_pages",
                               .shape = {{"model", "tiny"}, {"queries", 64}, {"keys", 1024}, {"page_tokens", 1}}},
                      .values = {{1200, 1200, 1200}}};
  const std::optional<FitReport> report = judge_pages(tiny(), {cell}, attend);
  ASSERT_TRUE(report);
  EXPECT_NEAR(report->held_out_errors().at(0), 0.25, 1e-9);  // 1,500 ns are predicted
}

}  // namespace
}  // namespace reprefill::calibrate
