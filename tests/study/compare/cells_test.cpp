// Statistics of one cell and of many, by hand.
#include "study/compare/cells.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/random.hpp"

namespace reprefill::study {
namespace {

Cell ttft(std::vector<double> samples, double predicted) {
  return judge("ttft", std::move(samples), predicted, 10, Judgement{});
}

TEST(Cell, MedianAndSpreadAreNearestRank) {
  // Seven repeats: p10 is the first, the median the fourth, p90 the seventh.
  const Cell cell = ttft({12, 10, 11, 9, 10, 10, 8}, 10);
  EXPECT_EQ(cell.real_ms, 10);
  EXPECT_EQ(cell.p10_ms, 8);
  EXPECT_EQ(cell.p90_ms, 12);
  EXPECT_DOUBLE_EQ(cell.spread, 0.2);
  EXPECT_EQ(cell.error, 0.0);
}

TEST(Cell, AnErrorUpToTheToleranceIsWithin) {
  EXPECT_EQ(ttft({10}, 10.5).verdict, CellVerdict::within);
  EXPECT_EQ(ttft({10}, 10.51).verdict, CellVerdict::outside);
  EXPECT_EQ(ttft({10}, 9.5).verdict, CellVerdict::within);
  EXPECT_EQ(ttft({10}, 9.49).verdict, CellVerdict::outside);
}

TEST(Cell, ALargerSpreadWidensWhatIsWithin) {
  EXPECT_EQ(ttft({9, 10, 11}, 11).verdict, CellVerdict::within);  // spread 10 %
  EXPECT_EQ(ttft({9, 10, 11}, 11.1).verdict, CellVerdict::outside);
}

TEST(Cell, ASpreadOfMoreThanAFifthProvesNothing) {
  EXPECT_EQ(ttft({8, 10, 12}, 10).verdict, CellVerdict::within);  // exactly 20 %
  EXPECT_EQ(ttft({7.9, 10, 12}, 10).verdict, CellVerdict::undecidable);
}

TEST(Cell, WhatDoesNotMatterToTheTtftIsWithinWhateverItsShare) {
  const Judgement judgement;
  // 0.05 ms predicted as 0.14 ms of a TTFT of 10 ms: 0.9 %.
  EXPECT_EQ(judge("select", {0.05}, 0.14, 10, judgement).verdict, CellVerdict::within);
  EXPECT_EQ(judge("select", {0.05}, 0.16, 10, judgement).verdict, CellVerdict::outside);
  // A spread that does matter stays undecidable though the median is met.
  EXPECT_EQ(judge("select", {0.0, 0.05, 0.3}, 0.05, 10, judgement).verdict, CellVerdict::undecidable);
}

TEST(Cell, NothingPredictedWhereNothingWasIsWithin) {
  const Cell cell = judge("ssd", {0, 0, 0}, 0, 10, Judgement{});
  EXPECT_EQ(cell.verdict, CellVerdict::within);
  EXPECT_FALSE(cell.error.has_value());
  EXPECT_TRUE(to_json(cell).at("error").is_null());
  EXPECT_EQ(judge("ssd", {0, 0, 0}, 1, 10, Judgement{}).verdict, CellVerdict::outside);
}

TEST(Summary, UndecidableCellsHaveNoSayInTheError) {
  const std::vector<Cell> cells = {ttft({10}, 11), ttft({10}, 10.2), ttft({1, 10, 30}, 40)};
  const Json summary = summarise(cells);
  EXPECT_EQ(summary["cells"], 3);
  EXPECT_NEAR(summary["median_error"].get<double>(), 0.02, 1e-12);
  EXPECT_NEAR(summary["p95_error"].get<double>(), 0.1, 1e-12);
  EXPECT_NEAR(summary["within"].get<double>(), 1.0 / 3, 1e-12);
  EXPECT_NEAR(summary["outside"].get<double>(), 1.0 / 3, 1e-12);
  EXPECT_NEAR(summary["undecidable"].get<double>(), 1.0 / 3, 1e-12);
}

TEST(Summary, OfNothingIsNull) {
  const Json summary = summarise({});
  EXPECT_EQ(summary["cells"], 0);
  EXPECT_TRUE(summary["median_error"].is_null());
  EXPECT_TRUE(summary["within"].is_null());
}

TEST(KendallTau, CountsPairsThatDifferByMoreThanTheirSpreads) {
  // Real 10, 20, 30; predicted in the order 1, 3, 2: two of three pairs agree.
  const std::vector<Cell> cells = {ttft({10}, 1), ttft({20}, 3), ttft({30}, 2)};
  const KendallTau tau = kendall_tau(cells);
  EXPECT_EQ(tau.num_pairs, 3u);
  EXPECT_NEAR(*tau.tau, 1.0 / 3, 1e-12);
}

TEST(KendallTau, PairsWithinTheirSpreadsAreLeftOut) {
  // Half-widths 1 and 1, medians 2 apart: not more than the sum.
  const std::vector<Cell> cells = {ttft({9, 10, 11}, 20), ttft({11, 12, 13}, 10), ttft({30}, 30)};
  const KendallTau tau = kendall_tau(cells);
  EXPECT_EQ(tau.num_pairs, 2u);
  EXPECT_EQ(tau.num_undecided, 1u);
  EXPECT_EQ(*tau.tau, 1.0);
}

TEST(KendallTau, APredictionThatCannotTellThemApartCountsAsNeither) {
  const std::vector<Cell> cells = {ttft({10}, 5), ttft({20}, 5)};
  EXPECT_EQ(*kendall_tau(cells).tau, 0.0);
}

TEST(KendallTau, OfOnePointIsNone) {
  EXPECT_FALSE(kendall_tau(std::vector<Cell>{ttft({10}, 5)}).tau.has_value());
  EXPECT_FALSE(kendall_tau({}).tau.has_value());
}

TEST(DistributionDistance, OfEqualDistributionsIsZeroOfApartOnesOne) {
  EXPECT_EQ(distribution_distance({3, 1, 2}, {1, 2, 3}), 0);
  EXPECT_EQ(distribution_distance({1, 2}, {3, 4, 5}), 1);
  EXPECT_EQ(distribution_distance({1, 1, 1}, {1}), 0);
  EXPECT_DOUBLE_EQ(distribution_distance({1, 2, 3, 4}, {1, 2}), 0.5);
}

TEST(DistributionDistance, IsThatOfThePlainDefinition) {
  RandomStream random(3, 0, "test");
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<double> a(1 + random.below(12)), b(1 + random.below(12));
    for (double& value : a) value = static_cast<double>(random.below(6));
    for (double& value : b) value = static_cast<double>(random.below(6));
    double expected = 0;
    for (double at = 0; at < 6; ++at) {
      const auto share = [at](const std::vector<double>& values) {
        const auto count = std::count_if(values.begin(), values.end(), [at](double value) { return value <= at; });
        return static_cast<double>(count) / static_cast<double>(values.size());
      };
      expected = std::max(expected, std::abs(share(a) - share(b)));
    }
    EXPECT_DOUBLE_EQ(distribution_distance(a, b), expected);
  }
}

TEST(Coverage, EndsOfTheRangeAreInside) {
  std::vector<double> replicas;
  for (int i = 1; i <= 40; ++i) replicas.push_back(i);
  const RangeCoverage range = cover(replicas, std::vector<double>{1.9, 2, 20, 38, 38.1});
  EXPECT_EQ(range.low_ms, 2);  // ranks ceil(0.05 * 40) and ceil(0.95 * 40)
  EXPECT_EQ(range.high_ms, 38);
  EXPECT_EQ(range.inside, 3u);
  EXPECT_EQ(range.total, 5u);
}

}  // namespace
}  // namespace reprefill::study
