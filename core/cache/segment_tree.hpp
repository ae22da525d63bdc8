// Which prefixes are stored: a radix tree whose nodes are segments (semantics 1, "Identity").
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/base/random.hpp"
#include "core/model/piece.hpp"

namespace reprefill::cache {

/// The longest stored path along a prefix, root first. Every span is at least one block long.
struct Match {
  std::vector<SegmentSpan> path;
  std::uint32_t num_tokens = 0;
  std::size_t num_blocks = 0;
};

struct SegmentInfo {
  std::optional<SegmentId> parent;
  std::uint32_t parent_tokens = 0;  // leading tokens of the parent that this segment extends
  std::uint32_t num_tokens = 0;
};

/// A prefix is a sequence of blocks of `block_tokens` tokens, each named by a 64-bit id. An id may name its whole
/// prefix (Mooncake) or its own tokens only (Bailian): leading runs are compared either way.
///
/// A segment is a run of blocks that extends its parent after a number of the parent's leading blocks. Segments are
/// never split and never grow, because pieces keep the identity under which they were first stored: a prefix that
/// leaves a segment in its middle becomes a child there, and one that goes on past its end becomes a child at the end.
/// At any point at most one continuation starts with a given block, so a path is unique.
class SegmentTree {
 public:
  explicit SegmentTree(std::uint32_t block_tokens);

  /// O(number of blocks): one comparison per block, one hash look-up per segment of the path.
  Match match(std::span<const std::uint64_t> blocks) const;

  /// Stores `new_blocks` (at least one) behind `match`, which must be what `match()` says now for the whole prefix:
  /// with several requests in flight, match again before inserting.
  SegmentId insert(const Match& match, std::span<const std::uint64_t> new_blocks);

  /// A segment that its user knows by number, without block ids: for pools where every prefix is one segment. `match`
  /// never finds it. Extends the whole of `parent` where there is one.
  SegmentId add_known(std::uint32_t num_tokens, std::optional<SegmentId> parent = std::nullopt);

  /// Forgets a segment without children (SSD capacity: leaf-first). Its number is not used again.
  void remove_leaf(SegmentId segment);

  bool contains(SegmentId segment) const {
    return segment.value < records_.size() && records_[segment.value].num_tokens > 0;
  }
  SegmentInfo info(SegmentId segment) const;
  bool is_leaf(SegmentId segment) const { return record(segment).num_children == 0; }
  /// The whole prefix that ends with this segment, root first.
  std::vector<SegmentSpan> path_of(SegmentId segment) const;

  std::uint32_t block_tokens() const { return block_tokens_; }
  /// Segments ever made: the numbers in use are below this.
  std::size_t num_segments() const { return records_.size(); }
  std::size_t num_stored_blocks() const { return blocks_.size() - num_dead_blocks_; }

 private:
  static constexpr std::uint32_t kRoot = ~std::uint32_t{0};

  struct Record {
    std::uint64_t first_block = 0;  // into blocks_
    std::uint32_t num_blocks = 0;   // 0 for known segments
    std::uint32_t num_tokens = 0;   // 0 once removed
    std::uint32_t parent = kRoot;
    std::uint32_t parent_tokens = 0;
    std::uint32_t num_children = 0;
  };
  /// Where a child hangs: behind `num_blocks` blocks of the parent, starting with `block`.
  struct Branch {
    std::uint32_t parent = kRoot;
    std::uint32_t num_blocks = 0;
    std::uint64_t block = 0;
    bool operator==(const Branch&) const = default;
  };
  struct BranchHash {
    using is_avalanching = void;
    std::size_t operator()(const Branch& branch) const {
      return combine64(branch.block, std::uint64_t{branch.parent} << 32 | branch.num_blocks);
    }
  };

  const Record& record(SegmentId segment) const;
  SegmentId append_record(const Record& record);
  void drop_dead_blocks();

  std::uint32_t block_tokens_;
  std::vector<Record> records_;
  std::vector<std::uint64_t> blocks_;  // runs of all segments, in order of segment number
  std::uint64_t num_dead_blocks_ = 0;
  boost::unordered_flat_map<Branch, std::uint32_t, BranchHash> children_;
};

}  // namespace reprefill::cache
