// Closed forms of what a request reads (reference 7): logical bytes, no cache hits, before alignment. Systems count for
// themselves; tests and studies compare the two. n is the stored length, which every block size divides (semantics 1).
#pragma once

#include <cstdint>
#include <span>

#include "core/base/budget.hpp"
#include "core/base/units.hpp"
#include "core/model/geometry.hpp"

namespace reprefill::layout {

/// AttentionStore: all K and V of every layer, 2 k n L.
Bytes attention_store_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens);

/// AS+H2O: all K, and V of the blocks that hold chosen tokens: k n L + k n f L. `touched_tokens` is n f, the tokens of
/// those blocks in one layer.
Bytes as_h2o_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens, std::uint64_t touched_tokens);

/// IMPRESS: the probed KV heads' keys, then K and V of touched blocks: g k n L + 2 k n f L; in `fallback_layers` layers
/// f is 1.
Bytes impress_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens, std::uint64_t touched_tokens,
                    std::span<const int> probe_heads, int fallback_layers = 0);

/// Whether the chosen chunks' K is read again in the layer whose keys were read for scoring (semantics 3).
enum class LeaderKeyReads : std::uint8_t { reread, reuse };

struct ContiguousKvShape {
  std::uint64_t chunk_tokens = 16;
  int period_layers = 8;
  Budget budget{1, 20};
  LeaderKeyReads leader_keys = LeaderKeyReads::reread;
};

struct ContiguousKvBytes {
  Bytes identification;  // k n P, P = ceil(L / period_layers)
  Bytes payload;         // 2 k c ceil(budget m) L, less k c ceil(budget m) a period where leader keys are reused
  Bytes total() const { return identification + payload; }
};

/// Without what inter-period prefetch wastes: (1 - coverage) of one chunk set a border and layer read ahead.
ContiguousKvBytes contiguous_kv_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens,
                                      const ContiguousKvShape& shape);

/// Expected share of blocks that hold at least one of the tokens chosen at random: 1 - (1 - budget)^block_tokens.
double scattered_share(Budget budget, std::uint32_t block_tokens);

}  // namespace reprefill::layout
