// How attention is cut into blocks: pure arithmetic, shared by the launcher and its tests.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/chunk_attention/chunk_attention.hpp"

namespace reprefill::kernels {

struct AttentionPlan {
  int rows_per_warp = 32;           // 16 for few rows
  std::uint32_t num_rows = 0;       // of one KV head: queries times the query heads that read it
  std::uint32_t num_row_tiles = 0;  // blocks of 4 * rows_per_warp rows
  int num_splits = 1;
};

inline constexpr std::uint32_t kAttentionWarps = 4;
inline constexpr std::uint32_t kAttentionTileKeys = 64;

/// What the split along keys is chosen from.
struct SplitShape {
  std::uint64_t num_units = 0;      // row tiles times KV heads
  std::uint64_t num_tiles = 0;      // of keys
  std::uint64_t partial_bytes = 0;  // that each split writes and the combining launch reads
};

/// Chooses how many blocks share a row tile's keys, by counting in times of one tile of keys. A block takes its tiles
/// and a fixed part (loading queries, the first tile's latency, storing); blocks run in waves of kBlocksAtOnce a
/// multiprocessor, and a last wave that leaves each its own multiprocessor runs at kAloneShare of the time. Splitting
/// adds the combining launch and its traffic, kBytesPerTile a multiprocessor in the time of a tile.
/// The constants are estimates, not measured: on an H100 a tile of 64 keys and 128 rows should take two blocks of one
/// multiprocessor about 3 us at FlashAttention-2's rate. They decide about speed only.
inline int choose_num_splits(const SplitShape& shape, int num_multiprocessors) {
  constexpr double kFixedTiles = 1, kCombineTiles = 1, kAloneShare = 0.65, kBytesPerTile = 64 * 1024;
  constexpr std::uint64_t kBlocksAtOnce = 2;
  const auto num_places = static_cast<std::uint64_t>(num_multiprocessors) * kBlocksAtOnce;
  const double traffic = 2 * static_cast<double>(shape.partial_bytes) / (kBytesPerTile * num_multiprocessors);
  int best = 1;
  double best_time = 0;
  const auto most = static_cast<int>(std::clamp<std::uint64_t>(shape.num_tiles, 1, kMaxSplits));
  for (int splits = 1; splits <= most; ++splits) {
    const auto count = static_cast<std::uint64_t>(splits);
    const std::uint64_t num_blocks = shape.num_units * count;
    const std::uint64_t rest = num_blocks % num_places;
    const double last_wave = rest == 0 ? 0 : rest <= num_places / kBlocksAtOnce ? kAloneShare : 1;
    const double waves = static_cast<double>(num_blocks / num_places) + last_wave;
    const auto tiles_each = static_cast<double>((shape.num_tiles + count - 1) / count);
    const double time =
        waves * (tiles_each + kFixedTiles) + (splits > 1 ? kCombineTiles + traffic * static_cast<double>(splits) : 0);
    if (splits == 1 || time < best_time) best = splits, best_time = time;
  }
  return best;
}

inline AttentionPlan plan_attention(const ChunkAttention& arguments, int num_multiprocessors) {
  const auto group = static_cast<std::uint32_t>(arguments.num_query_heads / arguments.num_kv_heads);
  AttentionPlan plan;
  plan.num_rows = arguments.num_queries * group;
  plan.rows_per_warp = plan.num_rows <= kAttentionWarps * 16 ? 16 : 32;
  const std::uint32_t rows = kAttentionWarps * static_cast<std::uint32_t>(plan.rows_per_warp);
  plan.num_row_tiles = (plan.num_rows + rows - 1) / rows;
  const std::uint64_t num_keys =
      std::uint64_t{arguments.prefix.tokens.num_slots} + arguments.first_query + arguments.num_queries;
  const auto num_kv_heads = static_cast<std::uint64_t>(arguments.num_kv_heads);
  const SplitShape shape{.num_units = plan.num_row_tiles * num_kv_heads,
                         .num_tiles = (num_keys + kAttentionTileKeys - 1) / kAttentionTileKeys,
                         .partial_bytes = plan.num_rows * num_kv_heads *
                                          (static_cast<std::uint64_t>(arguments.head_dim) + 2) * sizeof(float)};
  plan.num_splits = arguments.num_splits > 0 ? arguments.num_splits : choose_num_splits(shape, num_multiprocessors);
  return plan;
}

/// Per split, KV head and row: its output so far (fp32), the maximum and the sum of its softmax.
inline std::size_t workspace_bytes(const ChunkAttention& arguments, const AttentionPlan& plan) {
  if (plan.num_splits <= 1) return 0;
  const std::size_t num_partials =
      static_cast<std::size_t>(plan.num_splits) * static_cast<std::size_t>(arguments.num_kv_heads) * plan.num_rows;
  return num_partials * (static_cast<std::size_t>(arguments.head_dim) + 2) * sizeof(float);
}

}  // namespace reprefill::kernels
