// The index of a store: which prefixes it holds and in which files.
#pragma once

#include <map>
#include <span>

#include "core/cache/segment_tree.hpp"
#include "engine/store/segment_writer.hpp"
#include "engine/store/store_scan.hpp"

namespace reprefill::engine {

class Store {
 public:
  /// Reads store.json, all headers and token ids. With `model`, throws ConfigError where the store is of another one.
  /// Throws StoreDamage that names the first problem of any segment, and what to do: nothing damaged is used.
  static Store open(const std::filesystem::path& folder, const StoreModel* model = nullptr);
  /// The sound segments of a scan; the caller knows what to make of its problems.
  explicit Store(StoreScan scan);

  /// A copy for readers of one layout: as if the store had no other.
  Store with_layout(std::size_t layout_idx) const;

  const std::filesystem::path& folder() const { return folder_; }
  const StoreManifest& manifest() const { return manifest_; }

  /// Numbers are dense, parents first and then by depth and key: the same for the same store, on every machine.
  std::size_t num_segments() const { return segments_.size(); }
  const StoredSegment& segment(SegmentId id) const;
  std::optional<SegmentId> find(const SegmentKey& key) const;
  /// Whole path from the root up to all of this segment.
  std::vector<SegmentSpan> path_of(SegmentId id) const { return tree_.path_of(id); }
  bool has_children(SegmentId id) const { return !tree_.is_leaf(id); }

  /// The longest stored path along a prefix, root first, in whole store blocks.
  std::vector<SegmentSpan> match(std::span<const std::int32_t> token_ids) const;

  /// What is missing of a prefix: the whole blocks behind its longest stored path. No tokens: all is stored.
  NewSegment missing_part(std::span<const std::int32_t> token_ids) const;

  /// Takes up a segment that has been written (or is being written, semantics 1 "Append") since the store was opened.
  SegmentId add(StoredSegment segment);

  /// The layout that serves a system's; index into manifest().layouts. Throws ConfigError with the command that builds
  /// what is missing.
  std::size_t layout_for(const StoredLayout& needed) const;
  std::filesystem::path file_path(SegmentId id, std::size_t layout_idx) const;
  StoreFile open_file(SegmentId id, std::size_t layout_idx, DirectIo direct) const;

 private:
  std::vector<std::uint64_t> block_ids(std::span<const std::int32_t> token_ids) const;
  cache::Match match_blocks(std::span<const std::int32_t> token_ids) const;
  /// All token ids from the root to the end of this part of a segment.
  std::vector<std::int32_t> prefix_ids(const std::optional<ParentLink>& end) const;

  std::filesystem::path folder_;
  StoreManifest manifest_;
  cache::SegmentTree tree_;
  std::vector<StoredSegment> segments_;
  std::map<SegmentKey, SegmentId> by_key_;
};

}  // namespace reprefill::engine
