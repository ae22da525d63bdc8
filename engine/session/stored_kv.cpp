#include "engine/session/stored_kv.hpp"

#include <algorithm>
#include <cstring>

namespace reprefill::engine {
namespace {

/// Any copy with the tokens' own order does: every one has the whole payload. A reordered one is never alone.
std::size_t any_layout(const StoreManifest& manifest) {
  const auto plain = std::ranges::find(manifest.layouts, false, &StoredLayout::permutation);
  REPREFILL_CHECK(plain != manifest.layouts.end(), "all of a store's layouts are reordered");
  return static_cast<std::size_t>(plain - manifest.layouts.begin());
}

}  // namespace

StoredKv::StoredKv(const Store& store, Executor& executor)
    : store_(store),
      executor_(executor),
      layout_idx_(any_layout(store.manifest())),
      layout_(store.manifest().layouts[layout_idx_].store_layout(store.manifest().model.geometry.as_model())) {}

const StoreFile& StoredKv::file(SegmentId segment) {
  const auto found = files_.find(segment);
  if (found != files_.end()) return found->second;
  return files_.emplace(segment, store_.open_file(segment, layout_idx_, DirectIo::off)).first->second;
}

StoredKv::Layer StoredKv::read(SegmentId segment, int layer_idx, std::uint32_t num_tokens) {
  const std::uint32_t segment_tokens = store_.segment(segment).num_tokens();
  const std::uint64_t token_bytes = store_.manifest().model.geometry.tensor_bytes_per_token().value;
  const std::uint32_t block_tokens = layout_.kv_layout().block_tokens;
  Layer layer{.keys = std::vector<std::byte>(num_tokens * token_bytes),
              .values = std::vector<std::byte>(num_tokens * token_bytes),
              .num_tokens = num_tokens,
              .uploaded_keys = nullptr,
              .uploaded_values = nullptr};
  std::vector<std::byte> block;
  for (std::uint32_t first = 0; first < num_tokens; first += block_tokens) {
    const std::size_t wanted = std::min(block_tokens, num_tokens - first) * token_bytes;
    for (const PieceKind kind : {PieceKind::key, PieceKind::value}) {
      const PieceKey piece = PieceKey::make(segment, layer_idx, kind, first / block_tokens);
      const layout::Extent extent = layout_.extent(piece, segment_tokens);
      block.resize(extent.bytes.value);
      file(segment).read(extent.offset, block);
      std::vector<std::byte>& out = kind == PieceKind::key ? layer.keys : layer.values;
      std::memcpy(out.data() + first * token_bytes, block.data(), wanted);
    }
  }
  layer.uploaded_keys = executor_.upload(layer.keys);
  layer.uploaded_values = executor_.upload(layer.values);
  return layer;
}

std::vector<KvPage> StoredKv::read_prefix(std::span<const SegmentSpan> prefix, int layer_idx,
                                          std::vector<Layer>& layers) {
  layers.clear();
  std::vector<KvPage> pages;
  for (const SegmentSpan& span : prefix) {
    pages.push_back(layers.emplace_back(read(span.segment, layer_idx, span.num_tokens)).page());
  }
  return pages;
}

void ResidentPrefixes::load(std::span<const SegmentSpan> prefix, int num_layers) {
  for (const SegmentSpan& span : prefix) {
    std::vector<StoredKv::Layer>& layers = segments_[span.segment];
    if (!layers.empty()) continue;
    const std::uint32_t tokens = store_.segment(span.segment).num_tokens();
    for (int layer = 0; layer < num_layers; ++layer) layers.push_back(kv_.read(span.segment, layer, tokens));
    executor_.synchronize();
    if (executor_.gpu() == nullptr) continue;
    for (StoredKv::Layer& layer : layers) layer.keys = layer.values = {};  // they are in its memory
  }
}

ResidentLayer ResidentPrefixes::layer(SegmentId segment, int layer_idx) const {
  const StoredKv::Layer& layer = segments_.at(segment)[static_cast<std::size_t>(layer_idx)];
  return {.keys = layer.uploaded_keys.get(), .values = layer.uploaded_values.get()};
}

}  // namespace reprefill::engine
