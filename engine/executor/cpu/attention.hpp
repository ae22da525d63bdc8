// Attention of own tokens over a view of the stored prefix and, causally, over own tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/executor/cpu/key_tiles.hpp"
#include "engine/executor/cpu/worker_pool.hpp"

namespace reprefill::engine {

/// Queries of own tokens [first_token, first_token + count), RoPE applied: data is that of the first of them,
/// [count][num_query_heads][head_dim].
struct Queries {
  const float* data = nullptr;
  std::uint32_t first_token = 0;
  std::uint32_t count = 0;
  int num_query_heads = 0;
};

/// out: row `i` is [num_query_heads * head_dim] of query i, rows `out_stride` apart. scale is 1/sqrt(head_dim).
/// Softmax is computed online over tiles of keys, in splits that are merged in order; which threads do so changes no
/// bit. A query sees its own key, so its denominator is never zero.
/// Reads K and V of own tokens up to each query's own; later ones may hold finite values only.
void attend(WorkerPool& pool, const Kernels& kernels, const KeyTiles& keys, const Queries& queries, float scale,
            float* out, std::size_t out_stride);

}  // namespace reprefill::engine
