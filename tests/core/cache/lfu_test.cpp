#include <gmock/gmock.h>

#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;

TEST(Lfu, APieceEntersAFullTierOnlyWhenLookedUpMoreOftenThanItsMinimum) {
  TestCache t(20, 0, "lfu");
  t.miss_and_load(1);
  t.miss_and_load(2);
  t.hit(2);  // 1: once, 2: twice
  EXPECT_EQ(t.miss_and_load(3), std::nullopt) << "once is not more than once";
  EXPECT_THAT(t.moves, ElementsAre(moved(3, 10, Decision::bypassed)));
  EXPECT_EQ(t.miss_and_load(3), Tier::gpu) << "its frequency outlived the bypass";
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)));
}

TEST(Lfu, BetweenEqualFrequenciesTheEarlierEntryLeaves) {
  TestCache t(20, 0, "lfu");
  t.miss_and_load(2);
  t.miss_and_load(1);
  t.miss_and_load(3);
  t.miss_and_load(3);
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu)));
}

TEST(Lfu, WhatTheGpuRefusesTriesTheHostByTheSameRule) {
  TestCache t(10, 10, "lfu");
  t.miss_and_load(1);
  t.hit(1);
  t.hit(1);                                     // GPU: 1 (3)
  EXPECT_EQ(t.miss_and_load(2), Tier::host);    // host: 2 (1)
  EXPECT_EQ(t.miss_and_load(3), std::nullopt);  // 3 (1)
  EXPECT_EQ(t.miss_and_load(3), Tier::host);    // 3 (2) displaces 2 (1)
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_host), moved(3, 10, Decision::entered_host)));
  EXPECT_EQ(t.hit(3), Tier::host);
  EXPECT_FALSE(t.promote(3)) << "3 lookups are not more than 3";
  EXPECT_EQ(t.hit(3), Tier::host);
  EXPECT_TRUE(t.promote(3));
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::demoted), moved(3, 10, Decision::promoted)));
}

}  // namespace
}  // namespace reprefill::cache
