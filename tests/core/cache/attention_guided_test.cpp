#include <gmock/gmock.h>

#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;

TEST(AttentionGuided, ScoreIsCumulativeAttentionTimesLoads) {
  TestCache t(10, 0, "attention_guided");
  t.select_and_load(1, 3.0);                                                   // 3 x 1
  EXPECT_EQ(t.select_and_load(2, 1.0), std::nullopt) << "1 x 1";               // counts as a load all the same
  EXPECT_EQ(t.select_and_load(2, 0.5), std::nullopt) << "1.5 x 2 = 3: a tie";  // strictly more is needed
  EXPECT_EQ(t.select_and_load(2, 0.0), Tier::gpu) << "1.5 x 3 = 4.5";
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(2, 10, Decision::entered_gpu)));
}

TEST(AttentionGuided, AHitAddsAttentionButNoLoad) {
  TestCache t(10, 0, "attention_guided");
  t.select_and_load(1, 1.0);
  t.cache.note_selected(piece(1), 1.0);
  t.hit(1);  // 2 x 1, not 2 x 2
  EXPECT_EQ(t.select_and_load(2, 2.5), Tier::gpu);
}

TEST(AttentionGuided, HistoryOutlivesResidence) {
  TestCache t(10, 0, "attention_guided");
  t.select_and_load(1, 2.0);
  t.select_and_load(2, 3.0);                        // 1 leaves with I = 2, F = 1
  EXPECT_EQ(t.select_and_load(1, 0.0), Tier::gpu);  // 2 x 2 > 3 x 1
  EXPECT_EQ(t.select_and_load(2, 0.0), Tier::gpu);  // 3 x 2 > 2 x 2
}

TEST(AttentionGuided, AGpuVictimIsDemotedOnlyIfItIsWorthMoreThanTheHostMinimum) {
  TestCache t(10, 10, "attention_guided");
  t.select_and_load(1, 5.0);                         // GPU 1 (5)
  EXPECT_EQ(t.select_and_load(2, 3.0), Tier::host);  // host 2 (3)
  EXPECT_EQ(t.select_and_load(3, 8.0), Tier::gpu);   // 1 (5) displaces 2 (3) in the host tier
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_host), moved(1, 10, Decision::demoted),
                                   moved(3, 10, Decision::entered_gpu)));
  t.cache.note_selected(piece(1), 15.0);  // host 1 (20) is now above GPU 3 (8)
  EXPECT_EQ(t.select_and_load(4, 9.0), Tier::gpu);
  EXPECT_THAT(t.moves, ElementsAre(moved(3, 10, Decision::dropped_gpu), moved(4, 10, Decision::entered_gpu)));
}

TEST(AttentionGuided, StateExistsForSelectedPiecesOnly) {
  TestCache t(10, 0, "attention_guided");
  t.cache.lookup(piece(1));
  EXPECT_EQ(t.cache.num_known_pieces(), 0u);
  t.cache.note_selected(piece(1), 1.0);
  EXPECT_EQ(t.cache.num_known_pieces(), 1u);
}

TEST(AttentionGuided, AFullTableDropsTheAbsentPieceLongestUnselected) {
  TestCache t(10, 0, "attention_guided", {{"score_table_entries", 3}});
  t.select_and_load(1, 1.0);  // resident
  t.cache.note_selected(piece(2), 10.0);
  t.cache.note_selected(piece(3), 10.0);
  t.cache.note_selected(piece(2), 10.0);
  t.cache.note_selected(piece(4), 1.0);  // drops 3: 1 is resident, 2 was selected later
  EXPECT_EQ(t.cache.num_known_pieces(), 3u);
  EXPECT_EQ(t.cache.statistics().states_dropped, 1u);
  t.cache.note_selected(piece(1), 9.0);  // 10 x 1
  EXPECT_EQ(t.miss_and_load(3), std::nullopt) << "its 10.0 is forgotten";
  EXPECT_EQ(t.cache.statistics().states_dropped, 2u) << "which took the place of 2 or 4";
  EXPECT_EQ(t.where(1), Tier::gpu);
}

TEST(AttentionGuided, ATableFullOfResidentPiecesStillTakesTheNewOne) {
  TestCache t(30, 0, "attention_guided", {{"score_table_entries", 1}});
  for (const std::uint32_t number : {1, 2, 3}) EXPECT_EQ(t.select_and_load(number, 1.0), Tier::gpu);
  EXPECT_EQ(t.select_and_load(4, 2.0), Tier::gpu) << "its selection was not lost before its load";
  EXPECT_EQ(t.cache.num_known_pieces(), 4u);
}

}  // namespace
}  // namespace reprefill::cache
