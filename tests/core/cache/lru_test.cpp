#include <gmock/gmock.h>

#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;

TEST(Lru, OldestPieceOfTheGpuIsDemotedAndOldestOfTheHostIsDropped) {
  TestCache t(20, 10, "lru");
  t.load(1);
  t.load(2);
  EXPECT_EQ(t.load(3), Tier::gpu);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::demoted), moved(3, 10, Decision::entered_gpu)));
  EXPECT_EQ(t.load(4), Tier::gpu);
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_host), moved(2, 10, Decision::demoted),
                                   moved(4, 10, Decision::entered_gpu)));
}

TEST(Lru, AHitMakesAPieceTheMostRecent) {
  TestCache t(20, 0, "lru");
  t.load(1);
  t.load(2);
  EXPECT_EQ(t.hit(1), Tier::gpu);
  t.load(3);
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)));
}

TEST(Lru, RecencyIsTheReleaseOfTheLastPin) {
  TestCache t(20, 0, "lru");
  t.load_pinned(1);
  t.load_pinned(2);
  t.cache.unpin(piece(2));
  t.cache.unpin(piece(1));
  t.load(3);
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)));
}

TEST(Lru, AHostHitIsAlwaysPromotedAndSwapsWithTheOldestOfTheGpu) {
  TestCache t(10, 10, "lru");
  t.load(1);
  t.load(2);  // 1 is demoted
  EXPECT_EQ(t.hit(1), Tier::host);
  EXPECT_TRUE(t.promote(1));
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::demoted), moved(1, 10, Decision::promoted)));
}

TEST(Lru, DemotedPieceIsTheMostRecentOfTheHost) {
  TestCache t(10, 20, "lru");
  for (const std::uint32_t number : {1, 2, 3}) t.load(number);  // host: 1, 2; GPU: 3
  EXPECT_EQ(t.hit(1), Tier::host);                              // host: 2, 1
  t.load(4);                                                    // host: 1, 3; GPU: 4
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_host), moved(3, 10, Decision::demoted),
                                   moved(4, 10, Decision::entered_gpu)));
  t.load(5);
  EXPECT_EQ(t.moves[0], moved(1, 10, Decision::dropped_host));
}

TEST(Lru, KnowsNothingOfAbsentPieces) {
  TestCache t(20, 10, "lru");
  for (std::uint32_t number = 0; number < 100; ++number) {
    t.cache.note_selected(piece(number), 1.0);
    t.miss_and_load(number);
  }
  EXPECT_EQ(t.cache.num_known_pieces(), 3u);
}

}  // namespace
}  // namespace reprefill::cache
