#include "traces/importance/synthetic_importance.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprefill::traces {
namespace {

using Prefix = std::vector<SegmentSpan>;

constexpr HeadGrouping kGroupings[] = {HeadGrouping::all_heads, HeadGrouping::per_kv_head, HeadGrouping::probe_heads};

SyntheticImportanceParams paper() { return importance_preset("paper-5pct", "test").params; }

struct Who {
  std::uint64_t request = 3;
  std::uint64_t task = 5;
  int layer_idx = 8;
  HeadGrouping grouping = HeadGrouping::all_heads;
};

std::vector<float> scores_of(const ImportanceSource& source, const Prefix& prefix, const Who& who, int unit_tokens) {
  std::vector<float> out(static_cast<std::size_t>(source.num_groups(who.grouping)) * num_units(prefix, unit_tokens),
                         -1.0f);
  source.unit_scores({.request = who.request,
                      .task = who.task,
                      .prefix = prefix,
                      .layer_idx = who.layer_idx,
                      .grouping = who.grouping},
                     unit_tokens, out);
  return out;
}

/// Shares of the 40 best of 400 chunks by keys that the digest's scores choose too, over some requests.
double recall_of(const SyntheticImportanceParams& params, KeyDigest digest) {
  const SyntheticImportance source(params, {}, 1);
  const Prefix prefix = {{SegmentId{0}, 4096}, {SegmentId{1}, 2304}};
  std::vector<float> keys(400), blurred(400);
  const auto best = [](const std::vector<float>& scores) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    return std::set<std::size_t>(order.begin(), order.begin() + 40);
  };
  double both = 0;
  for (std::uint64_t request = 0; request < 20; ++request) {
    source.unit_scores({.request = request, .prefix = prefix}, 16, keys);
    source.unit_scores({.request = request, .prefix = prefix, .digest = digest}, 16, blurred);
    const std::set<std::size_t> wanted = best(keys);
    for (const std::size_t chunk : best(blurred)) both += wanted.contains(chunk);
  }
  return both / (20 * 40);
}

TEST(SyntheticImportance, ADigestsErrorCostsRecallAndNoErrorNone) {
  SyntheticImportanceParams params = paper();
  params.digest_errors = {.mean = 0, .minmax = 0.3, .int4 = 3};
  EXPECT_EQ(recall_of(params, KeyDigest::mean), 1);
  const double some = recall_of(params, KeyDigest::minmax), much = recall_of(params, KeyDigest::int4);
  EXPECT_GT(some, 0.6);
  EXPECT_LT(some, 1);
  EXPECT_LT(much, some);
  EXPECT_GT(much, 0.1) << "chance";
}

/// Sums token masses to units, segment by segment, in double precision.
std::vector<double> summed(const std::vector<float>& tokens, const Prefix& prefix, int num_groups, int unit_tokens) {
  std::vector<double> units;
  std::size_t at = 0;
  for (int group = 0; group < num_groups; ++group) {
    for (const SegmentSpan& span : prefix) {
      for (std::uint32_t t = 0; t < span.num_tokens; ++t, ++at) {
        if (t % static_cast<std::uint32_t>(unit_tokens) == 0) units.push_back(0);
        units.back() += static_cast<double>(tokens[at]);
      }
    }
  }
  return units;
}

/// Correlation of ln(mass).
double log_correlation(const std::vector<float>& a, const std::vector<float>& b) {
  double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  const auto n = static_cast<double>(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = std::log(static_cast<double>(a[i])), y = std::log(static_cast<double>(b[i]));
    sa += x, sb += y, saa += x * x, sbb += y * y, sab += x * y;
  }
  return (sab - sa * sb / n) / std::sqrt((saa - sa * sa / n) * (sbb - sb * sb / n));
}

TEST(SyntheticImportance, HasOneGroupForAllHeadsAndOneForEachKvOrProbedHead) {
  const SyntheticImportance source(paper(), {.num_kv_heads = 8, .probe_kv_heads = {0, 0, 3}}, 1);
  EXPECT_EQ(source.num_groups(HeadGrouping::all_heads), 1);
  EXPECT_EQ(source.num_groups(HeadGrouping::per_kv_head), 8);
  EXPECT_EQ(source.num_groups(HeadGrouping::probe_heads), 3);
  EXPECT_TRUE(source.has_channel(HeadGrouping::probe_heads));
  EXPECT_EQ(source.granularity_tokens(HeadGrouping::all_heads), 1);
}

TEST(SyntheticImportance, RefusesHeadsThatDoNotExist) {
  EXPECT_THROW(SyntheticImportance(paper(), {.num_kv_heads = 4, .probe_kv_heads = {4}}, 1), ConfigError);
  EXPECT_THROW(SyntheticImportance(paper(), {.num_kv_heads = 4, .probe_kv_heads = {-1}}, 1), ConfigError);
  EXPECT_THROW(SyntheticImportance(paper(), {.num_kv_heads = 0, .probe_kv_heads = {}}, 1), ConfigError);
}

TEST(SyntheticImportance, EqualQueriesGetEqualBitsInAnyOrderAndFromAnyInstance) {
  const SyntheticImportance source(paper(), {}, 1), again(paper(), {}, 1);
  const Prefix prefix = {{SegmentId{0}, 128}, {SegmentId{9}, 200}};
  for (const HeadGrouping grouping : kGroupings) {
    for (const int unit_tokens : {1, 16, 24, 64}) {
      const Who who{.grouping = grouping};
      const auto first = scores_of(source, prefix, who, unit_tokens);
      scores_of(source, {{SegmentId{1}, 640}}, {.request = 77, .layer_idx = 2, .grouping = grouping}, 1);
      EXPECT_EQ(scores_of(source, prefix, who, unit_tokens), first);
      EXPECT_EQ(scores_of(again, prefix, who, unit_tokens), first);
    }
  }
}

TEST(SyntheticImportance, ThreadsThatShareASourceGetEqualBits) {
  const SyntheticImportance source(paper(), {}, 1);
  const Prefix prefix = {{SegmentId{0}, 640}};
  const auto expected = scores_of(source, prefix, {}, 1);
  std::vector<std::vector<float>> found(4);
  std::vector<std::thread> threads;
  for (auto& result : found) threads.emplace_back([&] { result = scores_of(source, prefix, {}, 1); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(found, testing::Each(expected));
}

TEST(SyntheticImportance, ScoresAtAnyUnitSizeAreSumsOfTheSameTokenMasses) {
  const SyntheticImportance source(paper(), {.num_kv_heads = 4, .probe_kv_heads = {0, 0, 2}}, 11);
  const std::vector<Prefix> prefixes = {{{SegmentId{0}, 64}},
                                        {{SegmentId{0}, 128}, {SegmentId{1}, 64}, {SegmentId{2}, 256}},
                                        {{SegmentId{3}, 192}, {SegmentId{4}, 83}},
                                        {{SegmentId{5}, 1}},
                                        {{SegmentId{6}, 17}, {SegmentId{7}, 0}, {SegmentId{8}, 65}}};
  for (const Prefix& prefix : prefixes) {
    for (const HeadGrouping grouping : kGroupings) {
      const auto tokens = scores_of(source, prefix, {.grouping = grouping}, 1);
      for (const int unit_tokens : {1, 3, 4, 8, 16, 24, 32, 48, 64, 128, 256}) {
        const auto units = scores_of(source, prefix, {.grouping = grouping}, unit_tokens);
        const auto expected = summed(tokens, prefix, source.num_groups(grouping), unit_tokens);
        ASSERT_EQ(units.size(), expected.size());
        for (std::size_t i = 0; i < units.size(); ++i) {
          // At most 256 float additions, each off by half of 2^-23 of the sum.
          EXPECT_NEAR(static_cast<double>(units[i]), expected[i], expected[i] * 256 * 0x1p-24)
              << "unit " << i << " of " << unit_tokens << " tokens";
        }
      }
    }
  }
}

TEST(SyntheticImportance, MassesArePositiveAndFinite) {
  for (const ImportancePreset& preset : importance_presets()) {
    const SyntheticImportance source(preset.params, {}, 2);
    for (const HeadGrouping grouping : kGroupings) {
      for (const float mass : scores_of(source, {{SegmentId{0}, 5952}}, {.grouping = grouping}, 1)) {
        ASSERT_TRUE(mass > 0 && std::isfinite(mass)) << preset.name;
      }
    }
  }
}

TEST(SyntheticImportance, AnEmptyPrefixHasNoScores) {
  const SyntheticImportance source(paper(), {}, 1);
  EXPECT_TRUE(scores_of(source, {}, {}, 16).empty());
  EXPECT_TRUE(scores_of(source, {{SegmentId{0}, 0}}, {}, 16).empty());
}

TEST(SyntheticImportance, RefusesABufferOfTheWrongSize) {
  const SyntheticImportance source(paper(), {}, 1);
  const Prefix prefix = {{SegmentId{0}, 64}};
  std::vector<float> out(3);
  EXPECT_THROW(source.unit_scores({.prefix = prefix}, 16, out), InvariantError);
}

TEST(SyntheticImportance, EveryPartOfTheKeyChangesTheScores) {
  const SyntheticImportance source(paper(), {}, 1), other_seed(paper(), {}, 2);
  const Prefix prefix = {{SegmentId{0}, 640}};
  for (const HeadGrouping grouping : kGroupings) {
    const Who who{.grouping = grouping};
    const auto base = scores_of(source, prefix, who, 16);
    const auto with = [&](auto change) {
      Who other = who;
      change(other);
      return scores_of(source, prefix, other, 16);
    };
    EXPECT_NE(scores_of(other_seed, prefix, who, 16), base);
    EXPECT_NE(scores_of(source, {{SegmentId{1}, 640}}, who, 16), base);
    EXPECT_NE(with([](Who& w) { ++w.request; }), base);
    EXPECT_NE(with([](Who& w) { ++w.task; }), base);
    EXPECT_NE(with([](Who& w) { ++w.layer_idx; }), base);
  }
  const auto heads = scores_of(source, prefix, {.grouping = HeadGrouping::per_kv_head}, 16);
  EXPECT_FALSE(std::equal(heads.begin(), heads.begin() + 40, heads.begin() + 40));
  const auto probes = scores_of(source, prefix, {.grouping = HeadGrouping::probe_heads}, 16);
  EXPECT_FALSE(std::equal(probes.begin(), probes.begin() + 40, probes.begin() + 40));
}

TEST(SyntheticImportance, ASegmentsScoresDoNotDependOnTheSegmentsAroundIt) {
  // At the same place in a prefix of the same length; recency and sink depend on the place alone.
  const SyntheticImportance source(paper(), {}, 1);
  for (const HeadGrouping grouping : kGroupings) {
    for (const int unit_tokens : {1, 16, 64}) {
      const Who who{.grouping = grouping};
      const Prefix a = {{SegmentId{0}, 128}, {SegmentId{1}, 192}, {SegmentId{2}, 64}};
      const Prefix b = {{SegmentId{7}, 64}, {SegmentId{8}, 64}, {SegmentId{1}, 192}, {SegmentId{9}, 64}};
      const auto in_a = scores_of(source, a, who, unit_tokens), in_b = scores_of(source, b, who, unit_tokens);
      const std::size_t per_group = num_units(a, unit_tokens);
      ASSERT_EQ(per_group, num_units(b, unit_tokens));
      const std::size_t first = 128u / static_cast<std::size_t>(unit_tokens);
      const std::size_t last = 320u / static_cast<std::size_t>(unit_tokens);
      for (int group = 0; group < source.num_groups(grouping); ++group) {
        for (std::size_t i = first; i < last; ++i) {
          const std::size_t at = static_cast<std::size_t>(group) * per_group + i;
          ASSERT_EQ(in_a[at], in_b[at]);
        }
        EXPECT_NE(in_a[static_cast<std::size_t>(group) * per_group], in_b[static_cast<std::size_t>(group) * per_group]);
      }
    }
  }
}

TEST(SyntheticImportance, ALeadingPartOfASegmentKeepsItsTokensProportions) {
  SyntheticImportanceParams params = paper();
  params.recency_boost = 0;  // what depends on the prefix's end
  params.sink_mass = 0;
  const SyntheticImportance source(params, {}, 1);
  const auto all = scores_of(source, {{SegmentId{0}, 256}}, {}, 1);
  const auto part = scores_of(source, {{SegmentId{0}, 72}}, {}, 1);
  for (std::size_t t = 0; t < part.size(); ++t) {
    // Total mass is about 1 at any length, so the same token has more of a shorter prefix.
    EXPECT_NEAR(part[t] * 72 / 256, all[t], all[t] * 1e-5f);
  }
}

TEST(SyntheticImportance, RequestsOnOneTaskResembleEachOtherMoreThanRequestsOnTwo) {
  const SyntheticImportance source(paper(), {}, 1);
  const Prefix prefix = {{SegmentId{0}, 64000}};
  for (const HeadGrouping grouping : kGroupings) {
    const auto base = scores_of(source, prefix, {.request = 1, .task = 1, .grouping = grouping}, 16);
    const auto same_task = scores_of(source, prefix, {.request = 2, .task = 1, .grouping = grouping}, 16);
    const auto other_task = scores_of(source, prefix, {.request = 2, .task = 2, .grouping = grouping}, 16);
    EXPECT_GT(log_correlation(base, same_task), 0.5);
    EXPECT_LT(log_correlation(base, other_task), 0.35);  // recency, the sink
  }
}

TEST(SyntheticImportance, LayersOfOnePeriodResembleEachOtherMoreThanLayersOfTwo) {
  SyntheticImportanceParams params = paper();
  params.period_share = 0.1;
  params.static_share = 0.6;
  const SyntheticImportance source(params, {}, 1);
  const Prefix prefix = {{SegmentId{0}, 64000}};
  const auto base = scores_of(source, prefix, {.layer_idx = 8}, 16);
  const double within = log_correlation(base, scores_of(source, prefix, {.layer_idx = 15}, 16));
  const double across = log_correlation(base, scores_of(source, prefix, {.layer_idx = 16}, 16));
  // The variance that they share, but for block normalisation and recency.
  EXPECT_NEAR(within, 0.7, 0.05);
  EXPECT_NEAR(across, 0.6, 0.05);
}

TEST(SyntheticImportance, ProbedHeadsOfOneKvHeadAreSimilarAndKvHeadsDiffer) {
  const SyntheticImportance source(paper(), {.num_kv_heads = 4, .probe_kv_heads = {0, 0, 1}}, 1);
  const Prefix prefix = {{SegmentId{0}, 64000}};
  const std::size_t n = num_units(prefix, 1);
  const auto group = [&](const std::vector<float>& scores, std::size_t g) {
    return std::vector<float>(scores.begin() + static_cast<std::ptrdiff_t>(g * n),
                              scores.begin() + static_cast<std::ptrdiff_t>((g + 1) * n));
  };
  const auto probes = scores_of(source, prefix, {.grouping = HeadGrouping::probe_heads}, 1);
  const auto heads = scores_of(source, prefix, {.grouping = HeadGrouping::per_kv_head}, 1);
  EXPECT_GT(log_correlation(group(probes, 0), group(probes, 1)), 0.3);
  EXPECT_LT(log_correlation(group(probes, 0), group(probes, 1)), 0.95);
  EXPECT_GT(log_correlation(group(probes, 0), group(heads, 0)), 0.5);
  EXPECT_LT(log_correlation(group(probes, 0), group(probes, 2)), 0.2);
  EXPECT_LT(log_correlation(group(heads, 0), group(heads, 1)), 0.2);
}

TEST(SyntheticImportance, MoreProbedHeadsThanAreDrawnTogetherScoreAsInSmallerRuns) {
  const SyntheticImportance nine(paper(), {.num_kv_heads = 2, .probe_kv_heads = std::vector<int>(9, 1)}, 1);
  const SyntheticImportance three(paper(), {.num_kv_heads = 2, .probe_kv_heads = {1, 1, 1}}, 1);
  const Prefix prefix = {{SegmentId{0}, 128}};
  const Who who{.grouping = HeadGrouping::probe_heads};
  const auto all = scores_of(nine, prefix, who, 1), some = scores_of(three, prefix, who, 1);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
  EXPECT_GT(*std::min_element(all.begin(), all.end()), 0.0f);
}

TEST(SyntheticImportance, TheSinkAddsItsMassToTheFirstChunkOnly) {
  SyntheticImportanceParams params = paper();
  params.sink_mass = 0;
  const SyntheticImportance without(params, {}, 1);
  params.sink_mass = 0.25;
  const SyntheticImportance with(params, {}, 1);
  const Prefix prefix = {{SegmentId{0}, 128}, {SegmentId{1}, 64}};
  const auto before = scores_of(without, prefix, {}, 16), after = scores_of(with, prefix, {}, 16);
  EXPECT_NEAR(after[0] - before[0], 0.25, 1e-6);
  EXPECT_TRUE(std::equal(after.begin() + 1, after.end(), before.begin() + 1));
}

TEST(SyntheticImportance, RecencyGrowsTowardsTheEndAndTotalMassStaysNearOne) {
  SyntheticImportanceParams params = paper();
  params.recency_boost = 9;
  params.sink_mass = 0;
  const SyntheticImportance source(params, {}, 1);
  double middle = 0, end = 0;
  for (std::uint64_t request = 0; request < 50; ++request) {
    const auto scores = scores_of(source, {{SegmentId{0}, 6400}}, {.request = request, .task = request}, 64);
    for (std::size_t i = 45; i < 55; ++i) middle += static_cast<double>(scores[i]) / 500;
    end += static_cast<double>(scores[99]) / 50;
  }
  EXPECT_NEAR(middle, 0.01, 0.003);
  EXPECT_GT(end / middle, 4.0);
}

TEST(SyntheticImportance, RandomQueriesAgreeWithTheirTokenSums) {
  std::mt19937 engine(5);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(engine() % n); };
  const SyntheticImportance source(importance_preset("impress-opt", "test").params, {}, 3);
  for (int round = 0; round < 50; ++round) {
    Prefix prefix;
    for (std::uint32_t s = 0; s < 1 + below(4); ++s) prefix.push_back({SegmentId{below(100)}, below(300)});
    const Who who{.request = below(9),
                  .task = below(3),
                  .layer_idx = static_cast<int>(below(64)),
                  .grouping = kGroupings[below(3)]};
    const int unit_tokens = 1 + static_cast<int>(below(130));
    const auto units = scores_of(source, prefix, who, unit_tokens);
    const auto expected =
        summed(scores_of(source, prefix, who, 1), prefix, source.num_groups(who.grouping), unit_tokens);
    ASSERT_EQ(units.size(), expected.size());
    for (std::size_t i = 0; i < units.size(); ++i) {
      EXPECT_NEAR(static_cast<double>(units[i]), expected[i], expected[i] * 1e-5);
    }
  }
}

}  // namespace
}  // namespace reprefill::traces
