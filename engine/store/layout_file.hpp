// One layout's file of one segment, being written: payload, auxiliary slabs, checksums and header.
#pragma once

#include <span>
#include <vector>

#include "engine/store/segment_header.hpp"
#include "engine/store/store_file.hpp"
#include "engine/store/token_orders.hpp"

namespace reprefill::engine {

/// K and V of a segment's tokens in one layer, in the store's element type: [num_tokens][num_kv_heads][head_dim] each.
/// RoPE is applied to K at its original positions.
struct LayerKv {
  std::span<const std::byte> keys;
  std::span<const std::byte> values;
};

struct WriteOptions {
  DirectIo direct = DirectIo::if_possible;
  BeforeCall before_call = {};
};

/// Layers are gathered in windows: whole groups of layers that lie together, and as many of them as make a write of
/// 8 MiB.
class LayoutFile {
 public:
  /// Makes the file; whoever does not finish it removes it. `options` outlive this. `orders`: of a layout with a
  /// permutation; none: the tokens' own.
  LayoutFile(const SegmentHeader& header, const std::filesystem::path& path, const WriteOptions& options,
             TokenOrders orders = {});

  /// Layers in order, each once, with their tokens in their own order.
  void write_layer(int layer_idx, const LayerKv& kv);
  /// After the last layer: the rest of the file, flushed.
  void finish(std::span<const std::int32_t> token_ids);

 private:
  /// A range of the file that is filled piece by piece and written whole.
  struct Window {
    std::uint64_t start = 0;
    AlignedBuffer buffer;

    std::byte* at(const layout::Extent& extent) const;
  };

  layout::Extent extent_of(int layer_idx, PieceKind kind, std::uint32_t index) const {
    return layout_.extent(PieceKey::make(SegmentId{0}, layer_idx, kind, index), header_.num_tokens);
  }
  int num_layers() const { return static_cast<int>(header_.geometry.num_layers); }
  int group_layers() const;
  std::uint64_t payload_start(int layer_idx) const;
  void open_windows(int first);
  Window auxiliary_window(int first, int end, PieceKind kind) const;
  void copy_payload(int layer_idx, const LayerKv& kv);
  void copy_block(int layer_idx, std::uint32_t first_place, std::span<const std::byte> tokens,
                  std::span<std::byte> out) const;
  void write_pages(std::uint64_t offset, std::span<const std::byte> pages);
  void flush_windows();

  SegmentHeader header_;
  TokenOrders orders_;  // empty: the layout has no permutation
  layout::StoreLayout layout_;
  const WriteOptions& options_;
  StoreFile file_;
  std::vector<std::uint64_t> pages_;  // checksums
  int window_end_ = 0;
  Window payload_, identification_, probes_;
};

/// The identification slab of one layer, keys or digest as the layout says, from all keys of the segment's tokens.
void fill_identification_slab(const SegmentHeader& header, std::span<const std::byte> keys, std::span<std::byte> out);

/// Keys of the KV heads that these query heads read: [num_tokens][heads][head_dim] out of all KV heads', ascending.
void gather_probe_keys(const StoreGeometry& geometry, std::span<const int> probe_heads, std::span<const std::byte> keys,
                       std::byte* out);

}  // namespace reprefill::engine
