// The keys that a query sees, as one sequence: the tokens of a view in order, then own tokens in order. It is cut into
// tiles and splits of fixed size from its start, wherever pages begin and end: with the whole prefix in view,
// Re-Prefill adds the same numbers in the same order as plain prefill.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/base/kv_view.hpp"
#include "engine/executor/cpu/kernels.hpp"

namespace reprefill::engine {

/// Tiles of one split are summed one after the other; splits can be summed by different threads and are merged in
/// order.
inline constexpr std::uint32_t kSplitKeys = 8 * kTileKeys;

/// K and V of own tokens in one layer: [num_tokens][num_kv_heads][head_dim] of the KV type.
struct OwnKv {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  std::uint32_t num_tokens = 0;
};

class KeyTiles {
 public:
  struct Shape {
    KvType type = KvType::bf16;
    int num_kv_heads = 0;
    int head_dim = 0;
  };

  /// Throws InvariantError where counts of the view contradict each other.
  KeyTiles(const Shape& shape, const KvView& view, const OwnKv& own);
  KeyTiles(const Shape& shape, const KeyView& view, const OwnKv& own);

  std::uint32_t num_stored() const { return num_stored_; }
  std::uint32_t num_keys() const { return num_stored_ + num_own_; }
  const Shape& shape() const { return shape_; }
  /// head_dim padded to the kernels' step.
  std::size_t value_columns() const;

  /// out[head_dim][kTileKeys]: keys [first, first + kTileKeys), zeros beyond the last. `stored_head` is the head's
  /// place in the view's pages, `own_head` in own tokens.
  void load_keys(const Kernels& kernels, std::uint32_t first, int stored_head, int own_head, float* out) const;
  /// out[kTileKeys][value_columns()]; zeros where keep_v or keep_k is 0 and beyond the last.
  void load_values(const Kernels& kernels, std::uint32_t first, int head, float* out) const;
  /// Sets logits of masked keys of a tile to -inf. False where nothing was masked.
  bool mask_logits(std::uint32_t first, int head, float* logits) const;

 private:
  struct Page {
    std::uint32_t first = 0;  // number of its first key
    const std::byte* keys = nullptr;
    const std::byte* values = nullptr;
  };
  void add_page(const std::byte* keys, const std::byte* values, std::uint32_t num_tokens);
  std::size_t find_page(std::uint32_t key) const;
  bool keeps_key(std::uint32_t key, int head) const;
  bool keeps_value(std::uint32_t key, int head) const;
  std::size_t head_bytes() const;

  Shape shape_;
  int stored_heads_ = 0;
  std::uint32_t num_stored_ = 0;
  std::uint32_t num_own_ = 0;
  std::vector<Page> pages_;  // stored ones, then own tokens, then an end
  std::span<const std::uint8_t> keep_k_, keep_v_;
};

}  // namespace reprefill::engine
