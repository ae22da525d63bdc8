#include "core/cache/eviction/belady.hpp"

#include <gmock/gmock.h>

#include <set>

#include "core/base/random.hpp"
#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;
using Sequence = std::vector<std::uint32_t>;

/// A GPU tier of `capacity` pieces (and a host tier), whose policy knows `sequence`.
std::unique_ptr<TieredCache> belady_cache(const Sequence& sequence, std::uint64_t gpu_pieces,
                                          std::uint64_t host_pieces = 0) {
  auto future = std::make_shared<FutureUses>();
  for (const std::uint32_t number : sequence) future->add(piece(number));
  return std::make_unique<TieredCache>(TierCapacities{.gpu = Bytes{10 * gpu_pieces}, .host = Bytes{10 * host_pieces}},
                                       make_belady(std::move(future)));
}

/// Hits of the sequence, each piece loaded when it is missed.
std::uint64_t run(TieredCache& cache, const Sequence& sequence, std::vector<Move>* all_moves = nullptr) {
  for (const std::uint32_t number : sequence) {
    std::vector<Move> moves;
    std::optional<Tier> tier = cache.lookup(piece(number));
    if (tier == Tier::host) cache.try_promote(piece(number), moves);
    if (!tier) tier = cache.admit_loaded(piece(number), Bytes{10}, moves);
    if (tier) cache.unpin(piece(number));
    if (all_moves != nullptr) all_moves->insert(all_moves->end(), moves.begin(), moves.end());
    cache.check_invariants();
  }
  return cache.statistics()[Tier::gpu].hits + cache.statistics()[Tier::host].hits;
}

/// The most hits that any sequence of decisions can have, bypasses allowed: over all contents of the cache.
std::uint64_t most_hits(const Sequence& sequence, std::size_t capacity) {
  std::map<std::set<std::uint32_t>, std::uint64_t> best = {{{}, 0}};
  for (const std::uint32_t number : sequence) {
    std::map<std::set<std::uint32_t>, std::uint64_t> next;
    const auto reach = [&](const std::set<std::uint32_t>& contents, std::uint64_t hits) {
      std::uint64_t& value = next[contents];
      value = std::max(value, hits);
    };
    for (const auto& [contents, hits] : best) {
      if (contents.contains(number)) {
        reach(contents, hits + 1);
        continue;
      }
      reach(contents, hits);
      std::set<std::uint32_t> with = contents;
      with.insert(number);
      if (with.size() <= capacity) reach(with, hits);
      for (const std::uint32_t victim : contents) {
        std::set<std::uint32_t> swapped = with;
        swapped.erase(victim);
        if (swapped.size() <= capacity) reach(swapped, hits);
      }
    }
    best = std::move(next);
  }
  std::uint64_t most = 0;
  for (const auto& [contents, hits] : best) most = std::max(most, hits);
  return most;
}

TEST(Belady, WhoIsLookedUpAgainLastLeavesFirst) {
  const Sequence sequence = {1, 2, 3, 2, 3, 1};
  std::vector<Move> moves;
  const auto cache = belady_cache(sequence, 2);
  EXPECT_EQ(run(*cache, sequence, &moves), 2u);
  EXPECT_THAT(moves, ElementsAre(moved(1, 10, Decision::entered_gpu), moved(2, 10, Decision::entered_gpu),
                                 moved(1, 10, Decision::dropped_gpu), moved(3, 10, Decision::entered_gpu),
                                 moved(1, 10, Decision::bypassed)));
}

TEST(Belady, WhatIsNeverLookedUpAgainDisplacesNobody) {
  const Sequence sequence = {1, 9, 8, 7, 1};
  const auto cache = belady_cache(sequence, 1);
  EXPECT_EQ(run(*cache, sequence), 1u);
}

TEST(Belady, AVictimOfTheGpuTierIsDemotedByTheSameRule) {
  const Sequence sequence = {1, 2, 3, 2, 1, 3};
  const auto cache = belady_cache(sequence, 1, 1);
  // 1 enters GPU; 2 comes back sooner: 1 goes to host; 3 comes back after both: bypassed.
  EXPECT_EQ(run(*cache, sequence), 2u);
}

TEST(Belady, NoDecisionsHaveMoreHitsInOneTierOfEqualPieces) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomStream random(seed, 0, "belady");
    const std::size_t capacity = 1 + random.below(3);
    Sequence sequence;
    for (int i = 0; i < 24; ++i) sequence.push_back(static_cast<std::uint32_t>(random.below(7)));
    const auto cache = belady_cache(sequence, capacity);
    EXPECT_EQ(run(*cache, sequence), most_hits(sequence, capacity)) << "seed " << seed;
  }
}

TEST(Belady, HasAtLeastTheHitsOfEveryOtherPolicy) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    RandomStream random(seed, 0, "belady");
    Sequence sequence;
    for (int i = 0; i < 4000; ++i) sequence.push_back(static_cast<std::uint32_t>(random.below(1 + random.below(200))));
    const auto cache = belady_cache(sequence, 40);
    const std::uint64_t most = run(*cache, sequence);
    for (const PolicyInfo& policy : eviction_policies()) {
      TestCache other(400, 0, policy.name);
      for (const std::uint32_t number : sequence) {
        if (!other.hit(number)) other.load(number);
      }
      EXPECT_GE(most, other.cache.statistics()[Tier::gpu].hits) << policy.name;
    }
  }
}

TEST(FutureUses, ALookUpKnowsTheNextOfItsPieceEvenIfThatIsAddedLater) {
  FutureUses future;
  future.add(piece(1));
  future.add(piece(2));
  const std::uint32_t first = future.advance(piece(1));
  EXPECT_EQ(future.next_after(first), FutureUses::kNever);
  future.add(piece(1));
  EXPECT_EQ(future.next_after(first), 2u);
  EXPECT_EQ(future.next_after(future.advance(piece(1))), FutureUses::kNever);
  EXPECT_EQ(future.advance(piece(3)), FutureUses::kNone);
  EXPECT_EQ(future.next_after(FutureUses::kNone), FutureUses::kNever);
}

}  // namespace
}  // namespace reprefill::cache
