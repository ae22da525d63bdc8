#include "sim/simulation/store_capacity.hpp"

#include <gmock/gmock.h>

#include "core/base/random.hpp"

namespace reprefill::sim {
namespace {

constexpr Bytes kBlock{10};

/// A tree of prefixes named by block ids, in a store of so many blocks.
class Store {
 public:
  explicit Store(std::uint64_t num_blocks) : capacity_(num_blocks * kBlock) {}

  /// The request's prefix is looked up and, as far as it is new, stored. False: it was not.
  bool begin(std::uint64_t request, const std::vector<std::uint64_t>& blocks) {
    const cache::Match match = tree_.match(blocks);
    capacity_.begin_use(request, match.path);
    const auto fresh = std::span(blocks).subspan(match.num_blocks);
    if (fresh.empty()) return true;
    if (!capacity_.make_room(fresh.size() * kBlock, tree_)) return false;
    capacity_.add(request, tree_.insert(match, fresh), fresh.size() * kBlock);
    return true;
  }
  void end(std::uint64_t request) { capacity_.end_use(request, tree_); }
  bool serve(std::uint64_t request, const std::vector<std::uint64_t>& blocks) {
    const bool stored = begin(request, blocks);
    end(request);
    return stored;
  }
  std::size_t stored_blocks(const std::vector<std::uint64_t>& blocks) const { return tree_.match(blocks).num_blocks; }
  const StoreCapacity& capacity() const { return capacity_; }
  std::size_t num_stored() const { return tree_.num_stored_blocks(); }

 private:
  cache::SegmentTree tree_{64};
  StoreCapacity capacity_;
};

TEST(StoreCapacity, TheLeastRecentlyUsedLeafLeavesFirst) {
  Store store(4);
  store.serve(1, {1, 2});
  store.serve(2, {1, 2, 3});  // extends it
  store.serve(3, {9});
  store.serve(4, {1, 2, 3});  // used again: 9 is the oldest leaf now
  EXPECT_TRUE(store.serve(5, {7}));
  EXPECT_EQ(store.stored_blocks({9}), 0u);
  EXPECT_EQ(store.stored_blocks({1, 2, 3}), 3u);
  EXPECT_TRUE(store.serve(6, {8}));  // {3} leaves, not {1, 2}, which it extends
  EXPECT_EQ(store.stored_blocks({1, 2, 3}), 2u);
  EXPECT_EQ(store.capacity().num_removed(), 2u);
}

TEST(StoreCapacity, AParentLeavesAfterItsLastChild) {
  Store store(3);
  store.serve(1, {1});
  store.serve(2, {1, 2});
  store.serve(3, {1, 3});
  EXPECT_TRUE(store.serve(4, {5, 6, 7})) << "exactly full";
  EXPECT_EQ(store.stored_blocks({1}), 0u);
  EXPECT_EQ(store.capacity().used(), 3 * kBlock);
}

TEST(StoreCapacity, WhatARequestInFlightUsesStaysAndWhatDoesNotFitIsNotStored) {
  Store store(3);
  store.begin(1, {1, 2});
  EXPECT_TRUE(store.serve(2, {3}));
  EXPECT_FALSE(store.serve(3, {4, 5})) << "one block can leave, two are needed: nothing leaves";
  EXPECT_EQ(store.stored_blocks({3}), 1u);
  store.end(1);
  EXPECT_TRUE(store.serve(4, {4, 5}));
  EXPECT_FALSE(store.serve(5, {10, 11, 12, 13})) << "larger than the store";
  EXPECT_EQ(store.capacity().num_refused(), 2u);
}

TEST(StoreCapacity, WithoutALimitNothingLeaves) {
  Store store(0);
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(store.serve(i, {i}));
  EXPECT_EQ(store.num_stored(), 100u);
}

TEST(StoreCapacity, AtRandomItHoldsAtMostItsSizeAndNeverAPrefixInUseLess) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    RandomStream random(seed, 0, "store capacity");
    Store store(5 + random.below(20));
    std::map<std::uint64_t, std::pair<std::vector<std::uint64_t>, std::size_t>> in_flight;  // blocks, stored of them
    for (std::uint64_t request = 0; request < 2000; ++request) {
      std::vector<std::uint64_t> blocks;
      for (std::uint64_t i = 0, id = 0; i <= random.below(8); ++i) {
        id = id * 4 + 1 + random.below(3);  // a branch of three at each block
        blocks.push_back(id);
      }
      store.begin(request, blocks);
      in_flight[request] = {blocks, store.stored_blocks(blocks)};
      while (in_flight.size() > 3) {
        const auto oldest = in_flight.begin();
        store.end(oldest->first);
        in_flight.erase(oldest);
      }
      for (const auto& [number, prefix] : in_flight) {
        ASSERT_GE(store.stored_blocks(prefix.first), prefix.second) << "request " << number;
      }
      ASSERT_EQ(store.capacity().used(), store.num_stored() * kBlock);
    }
    EXPECT_GT(store.capacity().num_removed(), 100u);
  }
}

}  // namespace
}  // namespace reprefill::sim
