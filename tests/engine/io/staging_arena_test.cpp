#include "engine/io/staging_arena.hpp"

#include <gtest/gtest.h>

#include <map>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::engine {
namespace {

TEST(StagingArena, GivesWholePagesUntilItIsFull) {
  StagingArena arena(Bytes{3 * 4096});
  std::byte* a = arena.allocate(Bytes{1});
  std::byte* b = arena.allocate(Bytes{4097});
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a) % 4096, 0u);
  EXPECT_EQ(b, a + 4096);
  EXPECT_EQ(arena.allocate(Bytes{1}), nullptr);
  EXPECT_EQ(arena.used(), Bytes{3 * 4096});
  arena.release(a, Bytes{1});
  EXPECT_EQ(arena.allocate(Bytes{2 * 4096}), nullptr);  // one page is free
  EXPECT_EQ(arena.allocate(Bytes{4096}), a);
  EXPECT_EQ(arena.allocate(Bytes{0}), nullptr);
}

TEST(StagingArena, NeighboursThatAreFreedBecomeOneRange) {
  StagingArena arena(Bytes{8 * 4096});
  std::byte* blocks[4];
  for (std::byte*& block : blocks) block = arena.allocate(Bytes{2 * 4096});
  for (const int i : {1, 3, 0, 2}) arena.release(blocks[i], Bytes{2 * 4096});
  EXPECT_EQ(arena.used(), Bytes{0});
  EXPECT_EQ(arena.peak(), Bytes{8 * 4096});
  EXPECT_EQ(arena.allocate(Bytes{8 * 4096}), blocks[0]);
}

TEST(StagingArena, WhatIsFreedTwiceOrBelongsElsewhereIsRefused) {
  StagingArena arena(Bytes{8 * 4096}), other(Bytes{4096});
  std::byte* data = arena.allocate(Bytes{4 * 4096});
  arena.release(data, Bytes{4 * 4096});
  EXPECT_THROW(arena.release(data, Bytes{4 * 4096}), InvariantError);
  EXPECT_THROW(arena.release(data + 4096, Bytes{4096}), InvariantError);
  EXPECT_THROW(other.release(data, Bytes{4096}), InvariantError);
  EXPECT_EQ(arena.used(), Bytes{0});
}

TEST(StagingArena, OfNothingGivesNothing) {
  StagingArena arena(Bytes{0});
  EXPECT_EQ(arena.allocate(Bytes{1}), nullptr);
  EXPECT_TRUE(arena.memory().empty());
}

TEST(StagingArena, NoTwoLivingRangesOverlap) {
  StagingArena arena(Bytes{64 * 4096});
  std::map<std::byte*, std::uint64_t> living;
  std::uint64_t used = 0;
  for (std::uint64_t step = 0; step < 20000; ++step) {
    const std::uint64_t dice = combine64(7, step);
    if (dice % 3 != 0 || living.empty()) {
      const Bytes size{dice % 30000 + 1};
      std::byte* data = arena.allocate(size);
      if (data == nullptr) continue;
      const auto next = living.lower_bound(data);
      ASSERT_TRUE(next == living.end() || next->first >= data + size.value);
      ASSERT_TRUE(next == living.begin() || std::prev(next)->first + std::prev(next)->second <= data);
      living[data] = size.value;
      used += (size.value + 4095) / 4096 * 4096;
    } else {
      const auto chosen = std::next(living.begin(), static_cast<std::ptrdiff_t>(dice / 3 % living.size()));
      used -= (chosen->second + 4095) / 4096 * 4096;
      arena.release(chosen->first, Bytes{chosen->second});
      living.erase(chosen);
    }
    ASSERT_EQ(arena.used().value, used);
  }
}

}  // namespace
}  // namespace reprefill::engine
