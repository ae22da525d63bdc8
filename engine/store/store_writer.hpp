// The one process that may change a store.
#pragma once

#include <functional>
#include <mutex>

#include "engine/store/store.hpp"

namespace reprefill::engine {

/// K and V of one layer of a new segment; called once for each layer, in order. What it returns is read before the next
/// call.
using KvSource = std::function<LayerKv(int layer_idx)>;

/// Holds the store's lock for as long as it lives. Readers go on meanwhile: they see a segment once it is whole.
class StoreWriter {
 public:
  /// Opens the store, or makes one in a folder that is new or empty, and removes what killed writers left. Throws
  /// ConfigError where another process writes, where the folder holds something else, and where the store is of another
  /// model or has other layouts or blocks than `wanted`; StoreDamage as Store::open does.
  StoreWriter(std::filesystem::path folder, const StoreManifest& wanted, WriteOptions options = {});
  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  const Store& store() const { return *store_; }
  const std::vector<std::filesystem::path>& removed_leftovers() const { return removed_leftovers_; }

  /// Stores what is missing of a prefix in whole blocks; nullopt when nothing is. `missing` is asked once what is
  /// missing and answers with the source of its KV.
  std::optional<SegmentId> add_prefix(std::span<const std::int32_t> token_ids,
                                      const std::function<KvSource(const NewSegment& missing)>& source);

  /// Layer by layer, for who computes them so; give the writer to `finish` after the last one. Several may be under
  /// way, from several threads, as long as none extends another that is not finished.
  SegmentWriter begin(NewSegment segment) const;
  SegmentId finish(SegmentWriter& writer);

 private:
  std::filesystem::path folder_;
  WriteOptions options_;
  std::optional<StoreLock> lock_;
  std::optional<Store> store_;
  std::vector<std::filesystem::path> removed_leftovers_;
  std::mutex index_mutex_;
};

/// What one segment of this length takes on the disk, in all layouts.
Bytes segment_bytes(const StoreManifest& manifest, std::uint32_t num_tokens);

enum class Recursive : std::uint8_t { no, yes };

/// Removes segments by the first digits of their keys (at least 4, enough to be the only one), sound or not, and
/// leftovers. An empty list means all. Returns what went, children first. Throws ConfigError for an unknown or
/// ambiguous key and, unless recursive, where children would lose their parent; nothing is removed then.
std::vector<SegmentKey> remove_segments(const std::filesystem::path& folder, const std::vector<std::string>& keys,
                                        Recursive recursive, const BeforeCall& before = {});

}  // namespace reprefill::engine
