// Whole layers of stored segments in memory: for `resident`, for building segments on top of others, for recording.
#pragma once

#include <map>
#include <vector>

#include "engine/executor/executor.hpp"
#include "engine/real_machine/layer_view.hpp"
#include "engine/store/store.hpp"

namespace reprefill::engine {

/// K and V of leading tokens of a segment in one layer, [tokens][KV heads][head_dim] each, out of whatever layout the
/// store has. Throws StoreDamage where the file ends before.
class StoredKv {
 public:
  /// `executor` is whose views the pages are for.
  StoredKv(const Store& store, Executor& executor);

  struct Layer {
    std::vector<std::byte> keys, values;  // host memory
    std::uint32_t num_tokens = 0;
    std::shared_ptr<const std::byte> uploaded_keys, uploaded_values;

    KvPage page() const { return {uploaded_keys.get(), uploaded_values.get(), num_tokens}; }
  };
  Layer read(SegmentId segment, int layer_idx, std::uint32_t num_tokens);
  /// One page per segment of the prefix. Looks into `layers`, which it fills.
  std::vector<KvPage> read_prefix(std::span<const SegmentSpan> prefix, int layer_idx, std::vector<Layer>& layers);

 private:
  const StoreFile& file(SegmentId segment);

  const Store& store_;
  Executor& executor_;
  std::size_t layout_idx_;
  layout::StoreLayout layout_;
  std::map<SegmentId, StoreFile> files_;
};

/// Prefixes that `resident` serves from: read when first asked for, kept.
class ResidentPrefixes {
 public:
  ResidentPrefixes(const Store& store, Executor& executor) : store_(store), executor_(executor), kv_(store, executor) {}
  /// On the thread that may use the executor.
  void load(std::span<const SegmentSpan> prefix, int num_layers);
  ResidentLayer layer(SegmentId segment, int layer_idx) const;

 private:
  const Store& store_;
  Executor& executor_;
  StoredKv kv_;
  std::map<SegmentId, std::vector<StoredKv::Layer>> segments_;
};

}  // namespace reprefill::engine
