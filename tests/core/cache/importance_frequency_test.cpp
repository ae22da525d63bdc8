#include <gmock/gmock.h>

#include <algorithm>

#include "core/base/random.hpp"
#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;

TEST(ImportanceFrequency, FrequencyOfOneAndAHalfAtHalfShareLosesToOneAtFullShare) {
  // The published example [ref 3.2]: 1.5 x 50 % = 0.75 loses to 1.0 x 100 % = 1.0. As counts: 3 x 0.5 against 2 x 1.0.
  TestCache t(20, 0, "importance_frequency");
  t.select_and_load(1, 0.5);
  t.select_and_load(2, 1.0);
  t.cache.note_selected(piece(1), 0.5);
  t.cache.note_selected(piece(1), 0.5);  // 3 x 0.5 = 1.5
  t.cache.note_selected(piece(2), 1.0);  // 2 x 1.0 = 2.0
  t.select_and_load(3, 0.8);             // 0.8: neither is worth less
  EXPECT_THAT(t.moves, ElementsAre(moved(3, 10, Decision::bypassed)));
  t.select_and_load(3, 0.8);  // 1.6 displaces 1.5, although 1 was used more often than 2
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)));
}

TEST(ImportanceFrequency, TheRunningMeanMakesTheScoreTheSumOfShares) {
  TestCache t(10, 0, "importance_frequency");
  t.select_and_load(1, 1.0);
  t.cache.note_selected(piece(1), 0.25);  // 2 x 0.625 = 1.25
  t.cache.note_selected(piece(2), 0.5);
  t.cache.note_selected(piece(2), 0.75);  // 2 x 0.625 = 1.25
  EXPECT_EQ(t.miss_and_load(2), std::nullopt) << "equal is not worth more";
  t.cache.note_selected(piece(2), 0.125);
  EXPECT_EQ(t.miss_and_load(2), Tier::gpu);
}

TEST(ImportanceFrequency, TheExponentialAverageForgetsSoThatAScoreMayFall) {
  TestCache t(20, 0, "importance_frequency", {{"share_average", "exponential"}, {"share_weight", 1.0}});
  t.select_and_load(1, 1.0);
  t.select_and_load(2, 0.5);
  t.cache.note_selected(piece(1), 0.125);  // 2 x 0.125 = 0.25, below 2's 0.5
  t.select_and_load(3, 0.375);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)));
}

TEST(ImportanceFrequency, VictimsLeaveInOrderOfScoreAfterManyChangesUpAndDown) {
  constexpr std::uint32_t kNumPieces = 40;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    RandomStream random(seed, 0, "up and down");
    TestCache t(10 * kNumPieces, 0, "importance_frequency", {{"share_average", "exponential"}, {"share_weight", 1.0}});
    std::vector<std::pair<double, std::uint32_t>> scores(kNumPieces);
    for (std::uint32_t number = 0; number < kNumPieces; ++number) t.select_and_load(number, 1.0);
    const auto num_rounds = 1 + random.below(30);
    for (std::uint64_t round = 1; round <= num_rounds; ++round) {
      for (std::uint32_t number = 0; number < kNumPieces; ++number) {
        const double share = random.uniform();
        t.cache.note_selected(piece(number), share);
        scores[number] = {static_cast<double>(round + 1) * share, number};
      }
    }
    for (int i = 0; i < 100; ++i) t.cache.note_selected(piece(kNumPieces), 1.0);
    EXPECT_EQ(t.miss_and_load(kNumPieces, 10 * kNumPieces), Tier::gpu);
    std::sort(scores.begin(), scores.end());
    for (std::uint32_t i = 0; i < kNumPieces; ++i) {
      EXPECT_EQ(t.moves[i], moved(scores[i].second, 10, Decision::dropped_gpu)) << "seed " << seed;
    }
  }
}

TEST(ImportanceFrequency, APieceThatWasNeverSelectedEntersOnlyWhereThereIsRoom) {
  TestCache t(10, 10, "importance_frequency");
  EXPECT_EQ(t.miss_and_load(1), Tier::gpu);
  EXPECT_EQ(t.miss_and_load(2), Tier::host);
  EXPECT_EQ(t.miss_and_load(3), std::nullopt);
  EXPECT_EQ(t.select_and_load(4, 0.1), Tier::gpu);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(4, 10, Decision::entered_gpu)))
      << "1 is not worth more than 2";
}

}  // namespace
}  // namespace reprefill::cache
