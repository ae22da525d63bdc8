#include "core/cache/tiered_cache.hpp"

#include <gmock/gmock.h>

#include <limits>

#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TieredCache, PiecesEnterTheGpuWhileThereIsRoomUpToExactlyFull) {
  TestCache t(30, 0, "lru");
  EXPECT_EQ(t.load(1, 10), Tier::gpu);
  EXPECT_EQ(t.cache.fill(Tier::gpu), 10.0 / 30);
  EXPECT_EQ(t.load(2, 20), Tier::gpu);
  EXPECT_EQ(t.cache.resident_bytes(Tier::gpu), Bytes{30});
  EXPECT_EQ(t.cache.resident_entries(Tier::gpu), 2u);
  EXPECT_EQ(t.cache.fill(Tier::gpu), 1.0);
  EXPECT_FALSE(t.cache.has_been_full(Tier::gpu)) << "nobody found too little room yet";
  t.load(3, 1);
  EXPECT_TRUE(t.cache.has_been_full(Tier::gpu));
}

TEST(TieredCache, WithCapacityZeroEverythingBypasses) {
  TestCache t(0, 0, "lru");
  EXPECT_EQ(t.miss_and_load(1), std::nullopt);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::bypassed)));
  EXPECT_EQ(t.cache.statistics().bypasses, 1u);
  EXPECT_EQ(t.cache.statistics().bypasses_too_large, 1u);
  EXPECT_EQ(t.cache.fill(Tier::gpu), 1.0);
  EXPECT_TRUE(t.cache.has_been_full(Tier::host));
  EXPECT_EQ(t.cache.num_known_pieces(), 0u);
}

TEST(TieredCache, APieceLargerThanTheGpuTierEntersTheHostTier) {
  TestCache t(10, 20, "lru");
  EXPECT_EQ(t.load(1, 11), Tier::host);
  EXPECT_FALSE(t.promote(1));
  EXPECT_THAT(t.moves, IsEmpty());
  EXPECT_EQ(t.load(2, 21), std::nullopt);
  EXPECT_EQ(t.cache.statistics().bypasses_too_large, 1u);
  EXPECT_EQ(t.where(1), Tier::host) << "the large one displaced nobody";
}

TEST(TieredCache, AGpuVictimLargerThanTheHostTierIsDropped) {
  TestCache t(20, 10, "lru");
  t.load(1, 15);
  EXPECT_EQ(t.load(2, 10), Tier::gpu);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 15, Decision::dropped_gpu), moved(2, 10, Decision::entered_gpu)));
}

TEST(TieredCache, WhatIsDiscardedLeavesItsTierForNowhere) {
  for (const char* policy : {"lru", "lfu", "s3_fifo", "arc", "importance_frequency"}) {
    TestCache t(20, 20, policy);
    for (const std::uint32_t number : {1, 2, 3}) {
      t.cache.note_selected(piece(number), number);
      t.miss_and_load(number);
    }
    const Tier first = *t.where(1);
    t.moves.clear();
    t.cache.discard(piece(1), t.moves);
    t.cache.check_invariants();
    EXPECT_THAT(t.moves,
                ElementsAre(moved(1, 10, first == Tier::gpu ? Decision::dropped_gpu : Decision::dropped_host)));
    EXPECT_EQ(t.where(1), std::nullopt) << policy;
    t.moves.clear();
    t.cache.discard(piece(1), t.moves);
    t.cache.discard(piece(99), t.moves);
    EXPECT_THAT(t.moves, IsEmpty()) << "what is nowhere stays there";
    EXPECT_TRUE(t.miss_and_load(4)) << policy << ": its room is free";
    t.cache.note_selected(piece(1), 50);
    t.miss_and_load(1);
    t.cache.check_invariants();
  }
}

TEST(TieredCache, WhatIsPinnedIsNotDiscarded) {
  TestCache t(20, 20, "lru");
  t.load_pinned(1);
  EXPECT_TRUE(t.cache.is_pinned(piece(1)));
  EXPECT_THROW(t.cache.discard(piece(1), t.moves), InvariantError);
  t.cache.unpin(piece(1));
  EXPECT_FALSE(t.cache.is_pinned(piece(1)));
  EXPECT_FALSE(t.cache.is_pinned(piece(2)));
  EXPECT_EQ(t.where(1), Tier::gpu);
}

TEST(TieredCache, ALargePieceDisplacesSeveralInOrder) {
  TestCache t(30, 20, "lru");
  for (const std::uint32_t number : {1, 2, 3}) t.load(number);
  EXPECT_EQ(t.load(4, 25), Tier::gpu);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::demoted), moved(2, 10, Decision::demoted),
                                   moved(1, 10, Decision::dropped_host), moved(3, 10, Decision::demoted),
                                   moved(4, 25, Decision::entered_gpu)));
}

TEST(TieredCache, ACandidateMustBeWorthMoreThanEveryVictimOrNoneLeaves) {
  TestCache t(30, 0, "attention_guided");
  t.select_and_load(1, 1.0);
  t.select_and_load(2, 2.0);
  t.select_and_load(3, 9.0);
  EXPECT_EQ(t.select_and_load(4, 8.0, 25), std::nullopt) << "it needs the room of all three";
  EXPECT_THAT(t.moves, ElementsAre(moved(4, 25, Decision::bypassed)));
  EXPECT_EQ(t.cache.resident_entries(Tier::gpu), 3u);
  EXPECT_EQ(t.select_and_load(5, 8.0, 20), Tier::gpu) << "the order is as it was";
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(2, 10, Decision::dropped_gpu),
                                   moved(5, 20, Decision::entered_gpu)));
}

TEST(TieredCache, RefusedVictimsKeepTheirOrderUnderLruToo) {
  TestCache t(40, 0, "lru");
  for (const std::uint32_t number : {1, 2, 3}) t.load(number);
  t.load_pinned(4);
  EXPECT_EQ(t.load(5, 35), std::nullopt) << "4 is pinned";
  EXPECT_EQ(t.cache.statistics().bypasses_pinned, 1u);
  t.load(6, 20);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(2, 10, Decision::dropped_gpu),
                                   moved(6, 20, Decision::entered_gpu)));
}

class EveryPolicy : public testing::TestWithParam<std::string> {};

TEST_P(EveryPolicy, PinnedPiecesNeverLeaveAndWhatMeetsOnlyThemBypasses) {
  TestCache t(10, 10, GetParam());
  t.cache.note_selected(piece(1), 1.0);
  EXPECT_EQ(t.cache.lookup(piece(1)), std::nullopt);
  EXPECT_EQ(t.load_pinned(1), Tier::gpu);
  EXPECT_EQ(t.cache.lookup(piece(2)), std::nullopt);
  EXPECT_EQ(t.load_pinned(2), Tier::host);
  for (int i = 0; i < 5; ++i) {
    t.cache.note_selected(piece(3), 100.0);
    EXPECT_EQ(t.cache.lookup(piece(3)), std::nullopt);
    EXPECT_EQ(t.load_pinned(3), std::nullopt);
  }
  EXPECT_EQ(t.cache.statistics().bypasses, 5u);
  EXPECT_EQ(t.cache.statistics().bypasses_pinned, 5u);
  t.cache.unpin(piece(1));
  t.cache.note_selected(piece(3), 100.0);
  EXPECT_EQ(t.cache.lookup(piece(3)), std::nullopt);
  EXPECT_EQ(t.load_pinned(3), Tier::gpu) << "one without a pin is enough";
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)))
      << "the host tier holds only a pinned piece, so 1 cannot be demoted";
}

TEST_P(EveryPolicy, ASecondPinHoldsAPieceAfterTheFirstIsGivenBack) {
  TestCache t(10, 0, GetParam());
  t.load_pinned(1);
  EXPECT_EQ(t.cache.lookup(piece(1)), Tier::gpu);
  t.cache.unpin(piece(1));
  t.cache.note_selected(piece(2), 100.0);
  t.cache.lookup(piece(2));
  t.cache.lookup(piece(2));
  EXPECT_EQ(t.load_pinned(2), std::nullopt);
  t.cache.unpin(piece(1));
  EXPECT_EQ(t.load_pinned(2), Tier::gpu);
  EXPECT_THROW(t.cache.unpin(piece(1)), InvariantError);
}

TEST_P(EveryPolicy, AHostPieceIsPromotedWithItsPinsIntoFreeRoom) {
  TestCache t(10, 10, GetParam());
  t.load_pinned(1);  // GPU
  EXPECT_EQ(t.load_pinned(2, 5), Tier::host);
  EXPECT_FALSE(t.promote(2));
  t.cache.unpin(piece(1));
  t.cache.note_selected(piece(2), 50.0);  // now worth more than 1 to every policy
  t.cache.lookup(piece(2));
  EXPECT_TRUE(t.promote(2));
  EXPECT_EQ(t.where(1), Tier::host);
  EXPECT_EQ(t.cache.resident_bytes(Tier::host), Bytes{10}) << "the promoted piece made the room";
  t.cache.unpin(piece(2));
  t.cache.unpin(piece(2));
  EXPECT_THROW(t.cache.unpin(piece(2)), InvariantError);
}

TEST_P(EveryPolicy, ALoadOfWhatIsThereAlreadyOnlyPinsIt) {
  TestCache t(10, 10, GetParam());
  t.load_pinned(1);
  EXPECT_EQ(t.load_pinned(1), Tier::gpu);
  EXPECT_THAT(t.moves, IsEmpty());
  EXPECT_EQ(t.cache.statistics().loads, 2u);
  EXPECT_EQ(t.cache.resident_bytes(Tier::gpu), Bytes{10});
  t.cache.unpin(piece(1));
  t.cache.unpin(piece(1));
}

INSTANTIATE_TEST_SUITE_P(TieredCache, EveryPolicy,
                         testing::Values("lru", "lfu", "s3_fifo", "arc", "importance_frequency", "attention_guided"));

TEST(TieredCache, StatisticsCountPiecesAndBytes) {
  TestCache t(10, 20, "lru");
  t.miss_and_load(1);
  t.miss_and_load(2);     // 1 demoted
  t.miss_and_load(3, 8);  // 2 demoted
  t.hit(3);
  t.hit(1);
  t.promote(1);        // 3 demoted: 18 of 20 bytes in the host tier
  t.miss_and_load(4);  // 1 demoted, 2 dropped
  t.miss_and_load(5, 30);
  const CacheStatistics& counts = t.cache.statistics();
  EXPECT_EQ(counts.lookups, 7u);
  EXPECT_EQ(counts.misses, 5u);
  EXPECT_EQ(counts[Tier::gpu].hits, 1u);
  EXPECT_EQ(counts[Tier::gpu].hit_bytes, Bytes{8});
  EXPECT_EQ(counts[Tier::host].hits, 1u);
  EXPECT_EQ(counts[Tier::host].hit_bytes, Bytes{10});
  EXPECT_EQ(counts.loads, 5u);
  EXPECT_EQ(counts.load_bytes, Bytes{68});
  EXPECT_EQ(counts[Tier::gpu].entered, 4u);
  EXPECT_EQ(counts[Tier::gpu].entered_bytes, Bytes{38});
  EXPECT_EQ(counts.promotions, 1u);
  EXPECT_EQ(counts.promoted_bytes, Bytes{10});
  EXPECT_EQ(counts.demotions, 4u);
  EXPECT_EQ(counts.demoted_bytes, Bytes{38});
  EXPECT_EQ(counts[Tier::host].dropped, 1u);
  EXPECT_EQ(counts[Tier::host].dropped_bytes, Bytes{10});
  EXPECT_EQ(counts.bypasses, 1u);
  EXPECT_EQ(counts.bypassed_bytes, Bytes{30});
  t.cache.reset_statistics();
  EXPECT_EQ(t.cache.statistics().lookups, 0u);
  EXPECT_EQ(t.where(4), Tier::gpu) << "residence is not statistics";
}

TEST(TieredCache, MisuseIsAnInvariantError) {
  TestCache t(10, 10, "attention_guided");
  EXPECT_THROW(t.cache.unpin(piece(1)), InvariantError);
  EXPECT_THROW(t.promote(1), InvariantError);
  t.load(1);
  EXPECT_THROW(t.promote(1), InvariantError) << "it is in the GPU tier";
  EXPECT_THROW(t.cache.unpin(piece(1)), InvariantError);
  EXPECT_THROW(t.cache.note_selected(piece(1), -1.0), InvariantError);
  EXPECT_THROW(t.cache.note_selected(piece(1), std::numeric_limits<double>::quiet_NaN()), InvariantError);
}

}  // namespace
}  // namespace reprefill::cache
