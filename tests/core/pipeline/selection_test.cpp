// Choosing units by score: against a plain stable sort, and votes worked out by hand.
#include "core/pipeline/selection.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <gmock/gmock.h>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::pipeline {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::IsEmpty;

using Units = std::vector<std::uint32_t>;

/// The contract in its plainest form: sort all units by falling score, equal ones in their order; keep k; sort again.
Units sorted_top_k(std::span<const float> scores, std::uint64_t k) {
  Units units(scores.size());
  std::iota(units.begin(), units.end(), 0u);
  std::stable_sort(units.begin(), units.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  units.resize(std::min<std::uint64_t>(k, units.size()));
  std::sort(units.begin(), units.end());
  return units;
}

Units top(const std::vector<float>& scores, std::uint64_t k) { return top_k(scores, k); }

TEST(TopK, TakesTheHighestScoresInAscendingOrderOfIndex) {
  EXPECT_THAT(top({0.1f, 0.9f, 0.3f, 0.8f}, 2), ElementsAre(1, 3));
}

TEST(TopK, TiesGoToTheLowerIndex) {
  EXPECT_THAT(top({1, 2, 1, 2, 1}, 3), ElementsAre(0, 1, 3));
  EXPECT_THAT(top({5, 5, 5, 5}, 2), ElementsAre(0, 1));
}

TEST(TopK, OfNothingOrNoneIsNothing) {
  EXPECT_THAT(top({}, 3), IsEmpty());
  EXPECT_THAT(top({1, 2}, 0), IsEmpty());
}

TEST(TopK, OfMoreThanThereAreIsEverything) {
  EXPECT_THAT(top({3, 1, 2}, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(top({3, 1, 2}, 4), ElementsAre(0, 1, 2));
  EXPECT_THAT(top({3, 1, 2}, ~std::uint64_t{0}), ElementsAre(0, 1, 2));
}

TEST(TopK, MinusZeroTiesWithZero) {
  EXPECT_THAT(top({-0.0f, 0.0f, -0.0f}, 2), ElementsAre(0, 1));
  EXPECT_THAT(top({0.0f, -0.0f, 0.0f}, 2), ElementsAre(0, 1));
}

TEST(TopK, OrdersInfinitiesAndDenormalsAsNumbers) {
  const float denormal = std::numeric_limits<float>::denorm_min(), infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(top({0, denormal, infinity, 1}, 3), ElementsAre(1, 2, 3));
}

TEST(TopK, RefusesWhatIsNoScore) {
  EXPECT_THROW(top({1, std::nanf(""), 2}, 1), InvariantError);
  EXPECT_THROW(top({1, std::nanf("")}, 0), InvariantError) << "even where nothing is chosen";
  EXPECT_THROW(top({1, -1}, 1), InvariantError);
}

TEST(TopK, EqualsAStableSortOnRandomScores) {
  RandomStream random(1, 0, "top_k");
  for (int round = 0; round < 2000; ++round) {
    std::vector<float> scores(random.below(round % 20 == 0 ? 3000 : 200));
    const std::uint64_t num_levels = 1 + random.below(round % 2 == 0 ? 6 : 1u << 24);  // few levels: many ties
    for (float& score : scores) score = static_cast<float>(random.below(num_levels)) / 8;
    const std::uint64_t k = random.below(scores.size() + 3);
    ASSERT_EQ(top_k(scores, k), sorted_top_k(scores, k)) << scores.size() << " units, k " << k;
  }
}

/// Candidates are guessed from every eighth score; what these tell must not matter.
TEST(TopK, EqualsAStableSortWhereASampleMisleads) {
  RandomStream random(2, 0, "top_k");
  for (int round = 0; round < 60; ++round) {
    const std::size_t num_units = 1000 + random.below(6000), every = 1 + random.below(16), first = random.below(8);
    std::vector<float> scores(num_units);
    for (std::size_t i = 0; i < num_units; ++i) {
      scores[i] = static_cast<float>(random.uniform() * (i % every == first % every ? 1e6 : 1));
    }
    if (round % 3 == 0) std::ranges::sort(scores);
    for (const std::uint64_t k :
         {std::uint64_t{1}, random.below(num_units / 4), random.below(num_units), num_units - 1}) {
      ASSERT_EQ(top_k(scores, k), sorted_top_k(scores, k)) << num_units << " units, every " << every << ", k " << k;
    }
  }
}

TEST(JaccardIndex, IsTheSharedPartOfTheUnion) {
  EXPECT_DOUBLE_EQ(jaccard_index(Units{0, 1, 2}, Units{1, 2, 3}), 2.0 / 4.0);
  EXPECT_DOUBLE_EQ(jaccard_index(Units{0, 1}, Units{0, 1}), 1.0);
  EXPECT_DOUBLE_EQ(jaccard_index(Units{0, 2, 4}, Units{1, 3}), 0.0);
  EXPECT_DOUBLE_EQ(jaccard_index(Units{7}, Units{}), 0.0);
  EXPECT_DOUBLE_EQ(jaccard_index(Units{}, Units{}), 1.0);
}

Scores scores_of(const std::vector<std::vector<float>>& groups) {
  Scores scores;
  scores.num_groups = static_cast<int>(groups.size());
  scores.num_units = groups.front().size();
  for (const auto& group : groups) scores.values.insert(scores.values.end(), group.begin(), group.end());
  return scores;
}

Selection vote(const std::vector<std::vector<float>>& heads, std::uint64_t k, Vote mode, double threshold = 0) {
  return select_units(scores_of(heads),
                      {.mode = SelectionMode::probe_vote, .k = k, .vote = mode, .similarity_threshold = threshold});
}

// Top 2 of each head: {0, 1}, {1, 2}, {1, 3}. Votes: 0 -> 1, 1 -> 3, 2 -> 1, 3 -> 1.
const std::vector<std::vector<float>> kThreeHeads = {{4, 9, 1, 2, 0}, {1, 9, 6, 2, 0}, {1, 9, 2, 5, 0}};

TEST(ProbeVote, MajorityKeepsWhatMoreThanHalfOfTheHeadsChose) {
  EXPECT_THAT(vote(kThreeHeads, 2, Vote::majority).shared(), ElementsAre(1));
  // Of two heads, half is no majority.
  EXPECT_THAT(vote({{2, 1, 0}, {2, 0, 1}}, 2, Vote::majority).shared(), ElementsAre(0));
}

TEST(ProbeVote, UnionKeepsWhatAnyHeadChose) {
  EXPECT_THAT(vote(kThreeHeads, 2, Vote::union_).shared(), ElementsAre(0, 1, 2, 3));
}

TEST(ProbeVote, TopKKeepsTheMostVotedAndBreaksTiesBySummedScore) {
  // Unit 1 has three votes; of 0, 2 and 3 with one vote each, the sums are 6, 9 and 9: 2 and 3 tie, the lower wins.
  EXPECT_THAT(vote(kThreeHeads, 2, Vote::top_k).shared(), ElementsAre(1, 2));
  // A little more for unit 3 and it wins.
  auto heads = kThreeHeads;
  heads[0][3] = 2.5f;
  EXPECT_THAT(vote(heads, 2, Vote::top_k).shared(), ElementsAre(1, 3));
}

TEST(ProbeVote, VotesWinOverScores) {
  // Unit 2 has the largest sum by far, from one head; units 0 and 1 have two votes each.
  EXPECT_THAT(vote({{5, 4, 0}, {5, 4, 0}, {0, 0.5f, 1000}}, 2, Vote::top_k).shared(), ElementsAre(0, 1));
}

TEST(ProbeVote, OfEqualHeadsIsTheirTopK) {
  for (const Vote mode : {Vote::top_k, Vote::majority, Vote::union_}) {
    const Selection chosen = vote({{3, 1, 2}, {3, 1, 2}}, 2, mode);
    EXPECT_THAT(chosen.shared(), ElementsAre(0, 2));
    EXPECT_DOUBLE_EQ(chosen.similarity, 1.0);
  }
}

TEST(ProbeVote, OfOneHeadIsItsTopKAndPerfectlySimilar) {
  const Selection chosen = vote({{3, 1, 2}}, 1, Vote::top_k, /*threshold=*/1.0);
  EXPECT_THAT(chosen.shared(), ElementsAre(0));
  EXPECT_FALSE(chosen.is_everything);
  EXPECT_DOUBLE_EQ(chosen.similarity, 1.0);
}

TEST(ProbeVote, SimilarityIsTheMeanOverPairsOfHeads) {
  // {0,1} {1,2} {1,3}: every pair shares 1 of 3.
  EXPECT_DOUBLE_EQ(vote(kThreeHeads, 2, Vote::top_k).similarity, 1.0 / 3.0);
  // {0,1} {0,1} {2,3}: one pair 1, two pairs 0.
  EXPECT_DOUBLE_EQ(vote({{2, 1, 0, 0}, {2, 1, 0, 0}, {0, 0, 2, 1}}, 2, Vote::top_k).similarity, 1.0 / 3.0);
}

/// Semantics 3 in its plainest form.
Units sorted_by_votes(const Scores& scores, std::uint64_t k) {
  std::vector<int> votes(scores.num_units);
  for (int group = 0; group < scores.num_groups; ++group) {
    for (const std::uint32_t unit : sorted_top_k(scores.group(group), k)) ++votes[unit];
  }
  Units units;
  for (std::uint32_t unit = 0; unit < scores.num_units; ++unit) {
    if (votes[unit] > 0) units.push_back(unit);
  }
  const auto summed = [&](std::uint32_t unit) {
    float sum = 0;
    for (int group = 0; group < scores.num_groups; ++group) sum += scores.group(group)[unit];
    return sum;
  };
  std::ranges::stable_sort(units, [&](std::uint32_t a, std::uint32_t b) {
    return votes[a] != votes[b] ? votes[a] > votes[b] : summed(a) > summed(b);
  });
  units.resize(std::min<std::uint64_t>(k, units.size()));
  std::ranges::sort(units);
  return units;
}

TEST(ProbeVote, TopKEqualsASortByVotesSumsAndIndices) {
  RandomStream random(1, 0, "votes");
  for (int round = 0; round < 400; ++round) {
    std::vector<std::vector<float>> heads(1 + random.below(5), std::vector<float>(1 + random.below(200)));
    const std::uint64_t num_levels = 1 + random.below(round % 2 == 0 ? 5 : 1u << 20);
    double similarity = 0;
    for (auto& head : heads) {
      head.resize(heads.front().size());
      for (float& score : head) score = static_cast<float>(random.below(num_levels)) / 4;
    }
    const std::uint64_t k = 1 + random.below(heads.front().size());
    const Selection chosen = vote(heads, k, Vote::top_k);
    ASSERT_EQ(chosen.shared(), sorted_by_votes(scores_of(heads), k)) << heads.size() << " heads, k " << k;
    int num_pairs = 0;
    for (std::size_t a = 0; a < heads.size(); ++a) {
      for (std::size_t b = a + 1; b < heads.size(); ++b, ++num_pairs) {
        similarity += jaccard_index(sorted_top_k(heads[a], k), sorted_top_k(heads[b], k));
      }
    }
    EXPECT_EQ(chosen.similarity, num_pairs == 0 ? 1.0 : similarity / num_pairs);
  }
}

TEST(ProbeVote, BelowTheThresholdEverythingIsLoadedAndAtItNot) {
  const Selection at = vote(kThreeHeads, 2, Vote::top_k, 1.0 / 3.0);
  EXPECT_FALSE(at.is_everything);
  const Selection below = vote(kThreeHeads, 2, Vote::top_k, std::nextafter(1.0 / 3.0, 1.0));
  EXPECT_TRUE(below.is_everything);
  EXPECT_THAT(below.shared(), ElementsAre(0, 1, 2, 3, 4));
}

TEST(Select, PerGroupLetsEveryGroupChooseItsOwn) {
  const Selection chosen =
      select_units(scores_of({{1, 2, 3}, {3, 2, 1}}), {.mode = SelectionMode::top_k_per_group, .k = 1});
  EXPECT_THAT(chosen.groups, ElementsAre(Units{2}, Units{0}));
}

TEST(Select, OneSelectionForAllHeadsRefusesScoresOfSeveralGroups) {
  EXPECT_THAT(select_units(scores_of({{1, 2, 3}}), {.k = 1}).shared(), ElementsAre(2));
  EXPECT_THROW(select_units(scores_of({{1, 2, 3}, {1, 2, 3}}), {.k = 1}), InvariantError);
}

}  // namespace
}  // namespace reprefill::pipeline
