// Verdicts by hand, and on data whose truth is known.
#include "study/diff/diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace reprefill::study {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ResultPoint point(const std::string& key, const std::vector<double>& values) {
  ResultPoint result{.label = key};
  for (std::size_t i = 0; i < values.size(); ++i) result.samples.push_back({std::to_string(i), values[i]});
  return result;
}
ResultSamples samples(std::vector<ResultPoint> points) {
  return {.kind = "sweep", .schema_version = 3, .pair_by = PairBy::point, .points = std::move(points)};
}

TEST(DiffVerdict, FollowsTheInterval) {
  const DiffOptions options{.margin = 0.01};
  EXPECT_EQ(diff_verdict(0, Interval{-0.01, 0.01}, options), DiffVerdict::same);
  EXPECT_EQ(diff_verdict(0.005, Interval{0.004, 0.006}, options), DiffVerdict::same);  // sure, and too small to matter
  EXPECT_EQ(diff_verdict(0.05, Interval{0.005, 0.1}, options), DiffVerdict::worse);
  EXPECT_EQ(diff_verdict(-0.05, Interval{-0.1, -0.005}, options), DiffVerdict::better);
  EXPECT_EQ(diff_verdict(0.05, Interval{-0.02, 0.1}, options), DiffVerdict::ambiguous);
  EXPECT_EQ(diff_verdict(0.05, Interval{0, 0.1}, options), DiffVerdict::ambiguous);
  const DiffOptions mass{.margin = 0.01, .higher_is_better = true};
  EXPECT_EQ(diff_verdict(0.05, Interval{0.02, 0.1}, mass), DiffVerdict::better);
  EXPECT_EQ(diff_verdict(-0.05, Interval{-0.1, -0.02}, mass), DiffVerdict::worse);
}

TEST(DiffVerdict, OfASinglePairIsSameOrAmbiguous) {
  EXPECT_EQ(diff_verdict(0, std::nullopt, {}), DiffVerdict::same);
  EXPECT_EQ(diff_verdict(0.5, std::nullopt, {}), DiffVerdict::ambiguous);
}

TEST(Diff, AResultIsTheSameAsItself) {
  const ResultSamples a = samples({point("x", {1, 2, 3}), point("y", {4})});
  const DiffResult result = diff_results(a, a, {});
  for (const DiffEntry& entry : result.points) {
    EXPECT_EQ(entry.difference, 0);
    EXPECT_EQ(entry.verdict, DiffVerdict::same);
  }
  EXPECT_EQ(result.all.verdict, DiffVerdict::same);
}

TEST(Diff, PairsByNameNotByPosition) {
  // 10 % less in every pair, in another order: unpaired, the spread of 1 to 100 would hide it.
  ResultSamples a = samples({point("x", {1, 10, 100})}), b = a;
  for (ResultSample& sample : b.points[0].samples) sample.value *= 0.9;
  std::swap(b.points[0].samples[0], b.points[0].samples[2]);
  const DiffResult result = diff_results(a, b, {});
  EXPECT_NEAR(result.points[0].difference, -0.1, 1e-12);
  EXPECT_EQ(result.points[0].verdict, DiffVerdict::better);
  EXPECT_LT(result.points[0].interval->high, 0);
}

TEST(Diff, TheDifferenceOfTheMeansLiesInItsInterval) {
  RandomStream random(1, 0, "test");
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<double> a, b;
    for (int i = 0; i < 12; ++i) {
      a.push_back(10 + random.uniform());
      b.push_back(10 + random.uniform());
    }
    const DiffEntry entry = diff_results(samples({point("x", a)}), samples({point("x", b)}), {}).points[0];
    EXPECT_NEAR(entry.difference, (entry.mean_b - entry.mean_a) / entry.mean_a, 1e-12);
    EXPECT_LE(entry.interval->low, entry.difference);
    EXPECT_GE(entry.interval->high, entry.difference);
  }
}

TEST(Diff, FindsADifferenceLargerThanTheNoiseAndNoneWhereThereIsNone) {
  int found = 0, false_alarms = 0;
  for (std::uint64_t trial = 0; trial < 40; ++trial) {
    RandomStream random(trial, 0, "test");
    std::vector<double> a, same, slower;
    for (int i = 0; i < 30; ++i) {
      a.push_back(random.normal(10, 0.5));
      same.push_back(random.normal(10, 0.5));
      slower.push_back(random.normal(11, 0.5));
    }
    const auto verdict = [&](const std::vector<double>& b) {
      return diff_results(samples({point("x", a)}), samples({point("x", b)}), {}).points[0].verdict;
    };
    found += verdict(slower) == DiffVerdict::worse;
    false_alarms += verdict(same) == DiffVerdict::worse || verdict(same) == DiffVerdict::better;
  }
  EXPECT_EQ(found, 40);
  EXPECT_LE(false_alarms, 6);  // 5 % expected; a percentile bootstrap of 30 is a little optimistic
}

TEST(Diff, WhatHasNoPartnerIsCountedAndNamed) {
  const ResultSamples a = samples({point("x", {1, 2}), point("only a", {1})});
  const ResultSamples b = samples({point("only b", {1}), point("x", {1, 2, 3})});
  const DiffResult result = diff_results(a, b, {});
  ASSERT_EQ(result.points.size(), 1u);
  EXPECT_EQ(result.points[0].num_pairs, 2u);
  EXPECT_EQ(result.unpaired_samples, 1u);
  EXPECT_THAT(result.only_in_a, ElementsAre("only a"));
  EXPECT_THAT(result.only_in_b, ElementsAre("only b"));
  EXPECT_EQ(to_json(result)["only_in_b"], Json({"only b"}));
}

TEST(Diff, AllPointsTogetherWeighEachPointAlike) {
  // +10 % of 1 and -10 % of 1000: nothing on the whole.
  const DiffResult result = diff_results(samples({point("x", {1, 1}), point("y", {1000, 1000})}),
                                         samples({point("x", {1.1, 1.1}), point("y", {900, 900})}), {});
  EXPECT_NEAR(result.all.difference, 0, 1e-12);
  EXPECT_EQ(result.all.num_pairs, 2u);
  EXPECT_EQ(result.all.verdict, DiffVerdict::ambiguous);
  EXPECT_EQ(result.points[0].verdict, DiffVerdict::worse);
  EXPECT_EQ(result.points[1].verdict, DiffVerdict::better);
}

TEST(Diff, FromNothingToSomethingKeepsItsSign) {
  const DiffResult result = diff_results(samples({point("x", {0, 0})}), samples({point("x", {2, 2})}), {});
  EXPECT_EQ(result.points[0].difference, 2);
  EXPECT_EQ(result.points[0].verdict, DiffVerdict::worse);
}

TEST(Diff, AnAxisWithOneValueInEachResultIsWhatWasChanged) {
  ResultSamples a = samples({point("x", {1, 1}), point("x", {2, 2})}), b = a;
  for (ResultSamples* result : {&a, &b}) {
    result->points[0].axes = {{"budget", 0.1}, {"host_cache", result == &a ? "4 MB" : "8 MB"}};
    result->points[1].axes = {{"budget", 0.2}, {"host_cache", result == &a ? "4 MB" : "8 MB"}};
  }
  const DiffResult result = diff_results(a, b, {});
  ASSERT_EQ(result.points.size(), 2u);
  EXPECT_EQ(result.points[1].key, "x budget=0.2");
  EXPECT_THAT(result.changed_axes, ElementsAre("host_cache: 4 MB in A, 8 MB in B"));
  // With both values in one of them, points pair only with their own.
  b.points[0].axes["host_cache"] = "4 MB";
  EXPECT_EQ(diff_results(a, b, {}).points.size(), 1u);
  EXPECT_EQ(diff_results(a, b, {}).points[0].key, "x budget=0.1 host_cache=4 MB");
}

TEST(Diff, AnAxisThatBothShareStaysInTheName) {
  ResultSamples a = samples({point("x", {1, 1})});
  a.points[0].axes = {{"budget", 0.1}};
  const DiffResult result = diff_results(a, a, {});
  EXPECT_EQ(result.points[0].key, "x budget=0.1");
  EXPECT_TRUE(result.changed_axes.empty());
}

TEST(Diff, OtherSchemasAndStrangersAreRefused) {
  const auto refused = [](const ResultSamples& a, const ResultSamples& b) {
    try {
      diff_results(a, b, {});
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const ResultSamples a = samples({point("x", {1})});
  ResultSamples b = a;
  b.schema_version = 4;
  EXPECT_THAT(refused(a, b),
              HasSubstr("the first result has sweep rows of schema 3, the second sweep rows of schema 4"));
  b = a;
  b.kind = "compare";
  EXPECT_THAT(refused(a, b), HasSubstr("compare rows"));
  b = a;
  b.pair_by = PairBy::request;
  EXPECT_THAT(refused(a, b), HasSubstr("only one of the results has requests"));
  EXPECT_THAT(refused(a, samples({point("z", {1})})),
              HasSubstr("no point in common: the first has \"x\", the second \"z\""));
}

}  // namespace
}  // namespace reprefill::study
