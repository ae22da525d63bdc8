#include "core/cache/segment_tree.hpp"

#include <algorithm>
#include <limits>

namespace reprefill::cache {

SegmentTree::SegmentTree(std::uint32_t block_tokens) : block_tokens_(block_tokens) {
  REPREFILL_CHECK(block_tokens > 0, "a block has at least one token");
}

const SegmentTree::Record& SegmentTree::record(SegmentId segment) const {
  REPREFILL_CHECK(segment.value < records_.size(), "segment {} of {}", segment.value, records_.size());
  const Record& found = records_[segment.value];
  REPREFILL_CHECK(found.num_tokens > 0, "segment {} was removed", segment.value);
  return found;
}

Match SegmentTree::match(std::span<const std::uint64_t> blocks) const {
  Match result;
  std::uint32_t parent = kRoot;
  std::uint32_t parent_blocks = 0;
  while (result.num_blocks < blocks.size()) {
    const auto child = children_.find(Branch{parent, parent_blocks, blocks[result.num_blocks]});
    if (child == children_.end()) break;
    const Record& segment = records_[child->second];
    const std::span<const std::uint64_t> rest = blocks.subspan(result.num_blocks);
    const std::span<const std::uint64_t> run{blocks_.data() + segment.first_block, segment.num_blocks};
    const auto end = std::mismatch(run.begin(), run.end(), rest.begin(), rest.end()).first;
    parent = child->second;
    parent_blocks = static_cast<std::uint32_t>(end - run.begin());
    result.num_blocks += parent_blocks;
    result.path.push_back({SegmentId{parent}, parent_blocks * block_tokens_});
  }
  result.num_tokens = static_cast<std::uint32_t>(result.num_blocks) * block_tokens_;
  return result;
}

SegmentId SegmentTree::insert(const Match& match, std::span<const std::uint64_t> new_blocks) {
  REPREFILL_CHECK(!new_blocks.empty(), "a segment has at least one block");
  REPREFILL_CHECK(match.num_blocks + new_blocks.size() <= std::numeric_limits<std::uint32_t>::max() / block_tokens_,
                  "a prefix of {} blocks has more than 2^32 tokens", match.num_blocks + new_blocks.size());
  Branch branch{.parent = kRoot, .num_blocks = 0, .block = new_blocks.front()};
  if (!match.path.empty()) {
    const SegmentSpan& end = match.path.back();
    const Record& parent = record(end.segment);
    branch.parent = end.segment.value;
    branch.num_blocks = end.num_tokens / block_tokens_;
    REPREFILL_CHECK(branch.num_blocks >= 1 && end.num_tokens <= parent.num_tokens && parent.num_blocks > 0,
                    "segment {} of {} tokens cannot be extended after {}", end.segment.value, parent.num_tokens,
                    end.num_tokens);
    REPREFILL_CHECK(
        branch.num_blocks == parent.num_blocks || blocks_[parent.first_block + branch.num_blocks] != branch.block,
        "block {} is stored already: the match is not the longest", branch.block);
  }
  const auto next = static_cast<std::uint32_t>(records_.size());
  REPREFILL_CHECK(children_.emplace(branch, next).second, "block {} is stored already: the match is out of date",
                  branch.block);
  const std::uint64_t first_block = blocks_.size();
  blocks_.insert(blocks_.end(), new_blocks.begin(), new_blocks.end());
  const auto num_blocks = static_cast<std::uint32_t>(new_blocks.size());
  return append_record({.first_block = first_block,
                        .num_blocks = num_blocks,
                        .num_tokens = num_blocks * block_tokens_,
                        .parent = branch.parent,
                        .parent_tokens = branch.num_blocks * block_tokens_});
}

SegmentId SegmentTree::add_known(std::uint32_t num_tokens, std::optional<SegmentId> parent) {
  REPREFILL_CHECK(num_tokens > 0, "a segment has at least one token");
  Record known{.first_block = blocks_.size(), .num_tokens = num_tokens};
  if (parent) {
    known.parent = parent->value;
    known.parent_tokens = record(*parent).num_tokens;
  }
  return append_record(known);
}

SegmentId SegmentTree::append_record(const Record& record) {
  REPREFILL_CHECK(records_.size() < (std::size_t{1} << PieceKey::kSegmentBits), "more segments than a piece can name");
  records_.push_back(record);
  if (record.parent != kRoot) ++records_[record.parent].num_children;
  return SegmentId{static_cast<std::uint32_t>(records_.size() - 1)};
}

void SegmentTree::remove_leaf(SegmentId segment) {
  REPREFILL_CHECK(is_leaf(segment), "segment {} has children", segment.value);
  Record& leaf = records_[segment.value];
  if (leaf.num_blocks > 0) {
    children_.erase(Branch{leaf.parent, leaf.parent_tokens / block_tokens_, blocks_[leaf.first_block]});
  }
  if (leaf.parent != kRoot) --records_[leaf.parent].num_children;
  num_dead_blocks_ += leaf.num_blocks;
  leaf.num_blocks = 0;
  leaf.num_tokens = 0;
  if (num_dead_blocks_ > blocks_.size() / 2) drop_dead_blocks();
}

/// Moves the runs together; each removed block is paid for once.
void SegmentTree::drop_dead_blocks() {
  std::uint64_t end = 0;
  for (Record& segment : records_) {
    const auto run = blocks_.begin() + static_cast<std::ptrdiff_t>(segment.first_block);
    std::copy(run, run + segment.num_blocks, blocks_.begin() + static_cast<std::ptrdiff_t>(end));
    segment.first_block = end;
    end += segment.num_blocks;
  }
  blocks_.resize(end);
  blocks_.shrink_to_fit();
  num_dead_blocks_ = 0;
}

SegmentInfo SegmentTree::info(SegmentId segment) const {
  const Record& found = record(segment);
  SegmentInfo info{.parent = std::nullopt, .parent_tokens = found.parent_tokens, .num_tokens = found.num_tokens};
  if (found.parent != kRoot) info.parent = SegmentId{found.parent};
  return info;
}

std::vector<SegmentSpan> SegmentTree::path_of(SegmentId segment) const {
  std::vector<SegmentSpan> path;
  std::uint32_t num_tokens = record(segment).num_tokens;
  for (std::uint32_t at = segment.value; at != kRoot; at = records_[at].parent) {
    path.push_back({SegmentId{at}, num_tokens});
    num_tokens = records_[at].parent_tokens;
  }
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace reprefill::cache
