#include "calibrate/fit/fit_selection.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/meter/statistics.hpp"
#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

Measured choice(const char* by, double scores, double ns) {
  return {.spec = {.id = "", .quantity = "select_scored", .shape = {{"by", by}, {"scores", scores}}},
          .values = {{ns, ns, ns}}};
}

TEST(FitSelection, ScoresAndVotesHaveARateEachBesideOneOverhead) {
  std::vector<Measured> cells;
  for (const double n : {128.0, 384.0}) cells.push_back(choice("chunks", n, 9000 + 12 * n));
  for (const double n : {4096.0, 8192.0, 24576.0}) cells.push_back(choice("kv_heads", n, 9000 + 12 * n));
  for (const double n : {3072.0, 18432.0}) cells.push_back(choice("votes", n, 9000 + 19 * n));
  const SelectionFit fit = fit_selection(cells);
  EXPECT_NEAR(fit.overhead_ns, 9000, 1e-3);
  EXPECT_NEAR(fit.per_score_ns, 12, 1e-6);
  EXPECT_NEAR(fit.per_vote_ns, 19, 1e-6);
  EXPECT_EQ(fit.report.held_out_errors().size(), 7u);
  EXPECT_LT(quantile(fit.report.held_out_errors(), 1), 1e-6);
}

TEST(FitSelection, ARateThatChangesWithTheSizeShowsInTheHeldOutError) {
  const std::vector<Measured> cells = {choice("chunks", 100, 2000), choice("kv_heads", 10'000, 50'000),
                                       choice("kv_heads", 20'000, 300'000), choice("votes", 10'000, 90'000)};
  EXPECT_GT(quantile(fit_selection(cells).report.held_out_errors(), 1), 0.3);
}

TEST(FitSelection, NeedsTwoSizesAndAVote) {
  EXPECT_THROW(fit_selection({}), ConfigError);
  EXPECT_THROW(fit_selection({choice("chunks", 100, 2000), choice("kv_heads", 10'000, 50'000)}), ConfigError);
  EXPECT_THROW(fit_selection({choice("chunks", 100, 2000), choice("votes", 10'000, 50'000)}), ConfigError);
}

}  // namespace
}  // namespace reprefill::calibrate
