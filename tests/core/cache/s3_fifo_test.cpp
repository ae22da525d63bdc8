#include <gmock/gmock.h>

#include "core/base/random.hpp"
#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;

TEST(S3Fifo, WhatIsNotUsedAgainLeavesInTheOrderOfArrival) {
  TestCache t(30, 0, "s3_fifo");
  for (const std::uint32_t number : {1u, 2u, 3u}) t.miss_and_load(number);
  t.hit(1);  // one use is not enough
  t.miss_and_load(4);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(4, 10, Decision::entered_gpu)));
}

TEST(S3Fifo, TwoUsesInTheSmallQueueMoveAPieceToTheMainQueue) {
  TestCache t(30, 0, "s3_fifo");
  for (const std::uint32_t number : {1u, 2u, 3u}) t.miss_and_load(number);
  t.hit(1);
  t.hit(1);
  t.miss_and_load(4);  // 1 moves to main, 2 leaves
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_gpu), moved(4, 10, Decision::entered_gpu)));
  t.miss_and_load(5);
  t.miss_and_load(6);
  EXPECT_EQ(t.where(1), Tier::gpu) << "a stream of new pieces passes through the small queue";
  EXPECT_EQ(t.where(3), std::nullopt);
}

TEST(S3Fifo, AGhostReturnsToTheMainQueueAndAForgottenOneDoesNot) {
  TestCache t(20, 0, "s3_fifo");
  t.miss_and_load(1);
  t.miss_and_load(2);
  t.miss_and_load(3);  // 1 becomes a ghost
  t.miss_and_load(1);  // main; 2 leaves
  t.miss_and_load(4);  // 3 leaves
  t.miss_and_load(5);  // 4 leaves
  EXPECT_EQ(t.where(1), Tier::gpu);
  t.miss_and_load(2);  // its ghost: two others (3, 4) followed it, and the cache holds two pieces
  EXPECT_EQ(t.where(2), Tier::gpu);
  t.miss_and_load(6);
  EXPECT_EQ(t.where(2), std::nullopt) << "it came back as new";
}

TEST(S3Fifo, AMainPieceLeavesAfterItsUsesAreSpent) {
  TestCache t(20, 0, "s3_fifo", {{"small_share", 1.0}});  // the small queue gives victims only when it is everything
  t.miss_and_load(1);
  t.miss_and_load(2);
  t.miss_and_load(3);  // 1 leaves
  t.miss_and_load(1);  // main, 2 leaves
  t.miss_and_load(2);  // a ghost too: main; 1 leaves, since the small queue is not all of the tier
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(2, 10, Decision::entered_gpu)));
  t.hit(2);
  t.miss_and_load(7);  // 2 has a use to spend, nobody else is in main: it leaves all the same
  EXPECT_EQ(t.where(2), std::nullopt);
  EXPECT_EQ(t.where(3), Tier::gpu);
}

TEST(S3Fifo, AScanDoesNotFlushWhatIsUsedOften) {
  // Hot pieces between scans of pieces that are never seen again: LRU loses them, S3-FIFO keeps them.
  const auto hot_hits = [](const char* policy) {
    TestCache t(200, 0, policy);
    std::uint32_t next = 100;
    int hits = 0;
    for (int round = 0; round < 50; ++round) {
      for (std::uint32_t hot = 0; hot < 10; ++hot) {
        if (t.hit(hot)) {
          ++hits;
        } else {
          t.load(hot);
        }
      }
      for (int i = 0; i < 15; ++i) t.miss_and_load(next++);
    }
    return hits;
  };
  EXPECT_LT(hot_hits("lru"), 50);
  EXPECT_GT(hot_hits("s3_fifo"), 400);
}

TEST(S3Fifo, PinnedPiecesKeepTheirPlaceAndArePassedOver) {
  TestCache t(30, 0, "s3_fifo");
  t.cache.lookup(piece(1));
  t.load_pinned(1);
  t.miss_and_load(2);
  t.miss_and_load(3);
  t.miss_and_load(4);
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_gpu), moved(4, 10, Decision::entered_gpu)));
  t.cache.unpin(piece(1));
  t.miss_and_load(5);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(5, 10, Decision::entered_gpu)));
}

}  // namespace
}  // namespace reprefill::cache
