#include "core/cache/segment_tree.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "core/base/random.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Blocks = std::vector<std::uint64_t>;

SegmentSpan span(std::uint32_t segment, std::uint32_t num_tokens) { return {SegmentId{segment}, num_tokens}; }

/// Stores a whole prefix; nothing to do if all of it is there.
std::optional<SegmentId> store(SegmentTree& tree, const Blocks& prefix) {
  const Match match = tree.match(prefix);
  if (match.num_blocks == prefix.size()) return std::nullopt;
  return tree.insert(match, std::span(prefix).subspan(match.num_blocks));
}

TEST(SegmentTree, AnEmptyTreeMatchesNothing) {
  const SegmentTree tree(64);
  const Match match = tree.match(Blocks{1, 2});
  EXPECT_THAT(match.path, IsEmpty());
  EXPECT_EQ(match.num_tokens, 0u);
  EXPECT_EQ(match.num_blocks, 0u);
}

TEST(SegmentTree, AnEmptyPrefixMatchesNothing) {
  SegmentTree tree(64);
  store(tree, {1, 2});
  EXPECT_THAT(tree.match(Blocks{}).path, IsEmpty());
}

TEST(SegmentTree, AStoredPrefixIsOneSegment) {
  SegmentTree tree(64);
  EXPECT_EQ(store(tree, {1, 2, 3}), SegmentId{0});
  const Match match = tree.match(Blocks{1, 2, 3, 4});
  EXPECT_THAT(match.path, ElementsAre(span(0, 192)));
  EXPECT_EQ(match.num_tokens, 192u);
  EXPECT_EQ(match.num_blocks, 3u);
  EXPECT_EQ(tree.info(SegmentId{0}).parent, std::nullopt);
  EXPECT_EQ(tree.info(SegmentId{0}).num_tokens, 192u);
}

TEST(SegmentTree, AShorterPrefixMatchesTheLeadingPartOfASegment) {
  SegmentTree tree(64);
  store(tree, {1, 2, 3});
  EXPECT_THAT(tree.match(Blocks{1, 2}).path, ElementsAre(span(0, 128)));
}

TEST(SegmentTree, APrefixThatLeavesASegmentInItsMiddleBecomesAChildAndTheSegmentIsNotSplit) {
  SegmentTree tree(16);
  store(tree, {1, 2, 3, 4});
  EXPECT_EQ(store(tree, {1, 2, 7, 8}), SegmentId{1});
  const SegmentInfo info = tree.info(SegmentId{1});
  EXPECT_EQ(info.parent, SegmentId{0});
  EXPECT_EQ(info.parent_tokens, 32u);
  EXPECT_EQ(info.num_tokens, 32u);
  EXPECT_EQ(tree.info(SegmentId{0}).num_tokens, 64u);
  EXPECT_THAT(tree.match(Blocks{1, 2, 7, 8, 9}).path, ElementsAre(span(0, 32), span(1, 32)));
  EXPECT_THAT(tree.match(Blocks{1, 2, 3, 4}).path, ElementsAre(span(0, 64)));
  EXPECT_THAT(tree.path_of(SegmentId{1}), ElementsAre(span(0, 32), span(1, 32)));
}

TEST(SegmentTree, APrefixThatGoesOnPastASegmentBecomesAChildAtItsEnd) {
  SegmentTree tree(1);
  store(tree, {1, 2});
  store(tree, {1, 2, 3});
  store(tree, {1, 2, 3, 4});
  EXPECT_THAT(tree.match(Blocks{1, 2, 3, 4}).path, ElementsAre(span(0, 2), span(1, 1), span(2, 1)));
}

TEST(SegmentTree, PrefixesWithDifferentFirstBlocksAreBothRoots) {
  SegmentTree tree(1);
  store(tree, {1, 2});
  store(tree, {2, 2});
  EXPECT_EQ(tree.info(SegmentId{1}).parent, std::nullopt);
  EXPECT_THAT(tree.match(Blocks{2, 2}).path, ElementsAre(span(1, 2)));
}

TEST(SegmentTree, UnchainedIdsMatchOnlyAlongLeadingRuns) {
  SegmentTree tree(1);
  store(tree, {5, 5, 5, 6});
  EXPECT_EQ(tree.match(Blocks{5, 5, 6}).num_blocks, 2u);
  EXPECT_EQ(tree.match(Blocks{6}).num_blocks, 0u);
  store(tree, {5, 5, 6, 5});
  EXPECT_THAT(tree.match(Blocks{5, 5, 6, 5}).path, ElementsAre(span(0, 2), span(1, 2)));
}

TEST(SegmentTree, AnOutdatedOrShortMatchIsRefused) {
  SegmentTree tree(1);
  const Blocks prefix{1, 2};
  const Match before = tree.match(prefix);
  tree.insert(before, prefix);
  EXPECT_THROW(tree.insert(before, prefix), InvariantError);
  EXPECT_THROW(tree.insert(tree.match(Blocks{1}), Blocks{2}), InvariantError) << "block 2 follows block 1 already";
  EXPECT_THROW(tree.insert(tree.match(Blocks{1}), Blocks{}), InvariantError);
  EXPECT_EQ(tree.num_segments(), 1u);
}

TEST(SegmentTree, KnownSegmentsHavePathsButAreNeverMatched) {
  SegmentTree tree(64);
  EXPECT_EQ(tree.add_known(6000), SegmentId{0});
  EXPECT_EQ(tree.add_known(100, SegmentId{0}), SegmentId{1});
  EXPECT_THAT(tree.path_of(SegmentId{0}), ElementsAre(span(0, 6000)));
  EXPECT_THAT(tree.path_of(SegmentId{1}), ElementsAre(span(0, 6000), span(1, 100)));
  EXPECT_EQ(tree.match(Blocks{0}).num_blocks, 0u);
  EXPECT_EQ(tree.num_stored_blocks(), 0u);
}

TEST(SegmentTree, OnlyLeavesCanBeRemovedAndARemovedPrefixCanBeStoredAgain) {
  SegmentTree tree(1);
  store(tree, {1, 2, 3});
  store(tree, {1, 2, 4});
  EXPECT_FALSE(tree.is_leaf(SegmentId{0}));
  EXPECT_THROW(tree.remove_leaf(SegmentId{0}), InvariantError);
  tree.remove_leaf(SegmentId{1});
  EXPECT_EQ(tree.match(Blocks{1, 2, 4}).num_blocks, 2u);
  EXPECT_THROW(tree.info(SegmentId{1}), InvariantError);
  EXPECT_EQ(store(tree, {1, 2, 4}), SegmentId{2}) << "numbers are not used again";
  tree.remove_leaf(SegmentId{2});
  tree.remove_leaf(SegmentId{0});
  EXPECT_EQ(tree.match(Blocks{1}).num_blocks, 0u);
  EXPECT_EQ(tree.num_stored_blocks(), 0u);
}

/// Every stored prefix in full: what matches is the longest leading run shared with any of them.
class NaiveStore {
 public:
  void store(SegmentId id, const Blocks& prefix) { prefixes_[id.value] = prefix; }
  void remove(SegmentId id) { prefixes_.erase(id.value); }
  std::size_t match(const Blocks& blocks) const {
    std::size_t longest = 0;
    for (const auto& [id, prefix] : prefixes_) {
      const auto [a, b] = std::mismatch(prefix.begin(), prefix.end(), blocks.begin(), blocks.end());
      longest = std::max(longest, static_cast<std::size_t>(a - prefix.begin()));
    }
    return longest;
  }
  const std::map<std::uint32_t, Blocks>& prefixes() const { return prefixes_; }

 private:
  std::map<std::uint32_t, Blocks> prefixes_;
};

/// The blocks that a path names, read from the prefixes under which its segments were stored.
Blocks blocks_of(const SegmentTree& tree, const NaiveStore& naive, const std::vector<SegmentSpan>& path) {
  Blocks blocks;
  for (const SegmentSpan& part : path) {
    const Blocks& prefix = naive.prefixes().at(part.segment.value);
    const std::size_t first = prefix.size() - tree.info(part.segment).num_tokens / tree.block_tokens();
    for (std::size_t i = 0; i < part.num_tokens / tree.block_tokens(); ++i) blocks.push_back(prefix.at(first + i));
  }
  return blocks;
}

class RandomPrefixes : public testing::TestWithParam<int> {};

TEST_P(RandomPrefixes, AgreeWithANaiveStore) {
  RandomStream random(static_cast<std::uint64_t>(GetParam()), 0, "segment tree test");
  const std::uint64_t alphabet = 2 + random.below(4);
  SegmentTree tree(16);
  NaiveStore naive;
  for (int step = 0; step < 600; ++step) {
    Blocks prefix(random.below(12));
    for (std::uint64_t& block : prefix) block = random.below(alphabet);
    if (!naive.prefixes().empty() && random.uniform() < 0.5) {  // start as a stored prefix does
      auto any = naive.prefixes().begin();
      std::advance(any, static_cast<std::ptrdiff_t>(random.below(naive.prefixes().size())));
      const auto shared = static_cast<std::ptrdiff_t>(random.below(any->second.size() + 1));
      prefix.insert(prefix.begin(), any->second.begin(), any->second.begin() + shared);
    }
    const Match match = tree.match(prefix);
    ASSERT_EQ(match.num_blocks, naive.match(prefix));
    ASSERT_EQ(match.num_tokens, 16 * match.num_blocks);
    const Blocks named = blocks_of(tree, naive, match.path);
    ASSERT_EQ(named, Blocks(prefix.begin(), prefix.begin() + static_cast<std::ptrdiff_t>(match.num_blocks)));
    if (match.num_blocks < prefix.size()) {
      const SegmentId id = tree.insert(match, std::span(prefix).subspan(match.num_blocks));
      naive.store(id, prefix);
      ASSERT_EQ(tree.path_of(id), tree.match(prefix).path);
    } else if (!match.path.empty() && tree.is_leaf(match.path.back().segment)) {
      tree.remove_leaf(match.path.back().segment);
      naive.remove(match.path.back().segment);
    }
    std::size_t num_blocks = 0;
    for (const auto& [id, stored] : naive.prefixes()) num_blocks += tree.info(SegmentId{id}).num_tokens / 16;
    ASSERT_EQ(tree.num_stored_blocks(), num_blocks);
  }
  EXPECT_GT(naive.prefixes().size(), 10u);
}

INSTANTIATE_TEST_SUITE_P(SegmentTree, RandomPrefixes, testing::Range(0, 20));

}  // namespace
}  // namespace reprefill::cache
