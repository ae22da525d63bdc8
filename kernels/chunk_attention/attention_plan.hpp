// How attention is cut into blocks: pure arithmetic, shared by the launcher and its tests.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/chunk_attention/chunk_attention.hpp"

namespace reprefill::kernels {

struct AttentionPlan {
  bool uses_warpgroups = false;  // hopper_attention.cuh, else attention_block.cuh
  int rows_per_warp = 32;        // without warpgroups; 16 for few rows
  std::uint32_t num_rows = 0;    // of one KV head: queries times the query heads that read it
  std::uint32_t num_row_tiles = 0;
  int num_splits = 1;
};

inline constexpr std::uint32_t kAttentionWarps = 4;
inline constexpr std::uint32_t kAttentionTileKeys = 64;
inline constexpr std::uint32_t kWarpgroupTileRows = 128;
inline constexpr std::uint32_t kWarpgroupTileKeys = 128;

/// What the split along keys is chosen from.
struct SplitShape {
  std::uint64_t num_units = 0;  // row tiles times KV heads
  std::uint64_t num_keys = 0;
  std::uint64_t partial_bytes = 0;  // that each split writes and the combining launch reads
};

/// What blocks cost, in times of one tile of keys; estimates, which decide about speed only.
struct SplitCosts {
  std::uint64_t tile_keys;
  std::uint64_t blocks_at_once;  // of a multiprocessor
  double alone_share;            // of a wave's time, when each block has its own multiprocessor
  double fixed;                  // of a block: loading queries, the first tile's latency, storing
  double combine;                // the combining launch
  double bytes_per_tile;         // of its traffic, a multiprocessor in the time of a tile
};

/// A tile of 64 keys and 128 rows takes two blocks of one multiprocessor about 3 us on an H100.
inline constexpr SplitCosts kMmaCosts{.tile_keys = kAttentionTileKeys,
                                      .blocks_at_once = 2,
                                      .alone_share = 0.65,
                                      .fixed = 1,
                                      .combine = 1,
                                      .bytes_per_tile = 64 * 1024};
inline constexpr SplitCosts kWarpgroupCosts{.tile_keys = kWarpgroupTileKeys,
                                            .blocks_at_once = 1,
                                            .alone_share = 1,
                                            .fixed = 2,
                                            .combine = 2,
                                            .bytes_per_tile = 32 * 1024};

/// Chooses how many blocks share a row tile's keys, by counting in times of one tile of keys; blocks run in waves.
inline int choose_num_splits(const SplitShape& shape, const SplitCosts& costs, int num_multiprocessors) {
  const auto num_places = static_cast<std::uint64_t>(num_multiprocessors) * costs.blocks_at_once;
  const double traffic = 2 * static_cast<double>(shape.partial_bytes) / (costs.bytes_per_tile * num_multiprocessors);
  const auto tiles_of = [&](std::uint64_t keys) { return (keys + costs.tile_keys - 1) / costs.tile_keys; };
  int best = 1;
  double best_time = 0;
  const auto most = static_cast<int>(std::clamp<std::uint64_t>(tiles_of(shape.num_keys), 1, kMaxSplits));
  for (int splits = 1; splits <= most; ++splits) {
    const auto count = static_cast<std::uint64_t>(splits);
    const std::uint64_t num_blocks = shape.num_units * count;
    const std::uint64_t rest = num_blocks % num_places;
    const double last_wave = rest == 0 ? 0 : rest <= num_places / costs.blocks_at_once ? costs.alone_share : 1;
    const double waves = static_cast<double>(num_blocks / num_places) + last_wave;
    const auto tiles_each = static_cast<double>(tiles_of((shape.num_keys + count - 1) / count));
    const double combining = splits > 1 ? costs.combine + traffic * static_cast<double>(splits) : 0;
    const double time = waves * (tiles_each + costs.fixed) + combining;
    if (splits == 1 || time < best_time) best = splits, best_time = time;
  }
  return best;
}

/// has_warpgroups: the device multiplies by warpgroups, and the build contains that.
inline AttentionPlan plan_attention(const ChunkAttention& arguments, int num_multiprocessors, bool has_warpgroups) {
  const auto group = static_cast<std::uint32_t>(arguments.num_query_heads / arguments.num_kv_heads);
  AttentionPlan plan;
  plan.uses_warpgroups = has_warpgroups && arguments.instructions == Instructions::automatic;
  plan.num_rows = arguments.num_queries * group;
  plan.rows_per_warp = plan.num_rows <= kAttentionWarps * 16 ? 16 : 32;
  const std::uint32_t rows =
      plan.uses_warpgroups ? kWarpgroupTileRows : kAttentionWarps * static_cast<std::uint32_t>(plan.rows_per_warp);
  plan.num_row_tiles = (plan.num_rows + rows - 1) / rows;
  const auto num_kv_heads = static_cast<std::uint64_t>(arguments.num_kv_heads);
  const SplitShape shape{
      .num_units = plan.num_row_tiles * num_kv_heads,
      .num_keys = std::uint64_t{arguments.prefix.tokens.num_slots} + arguments.first_query + arguments.num_queries,
      .partial_bytes =
          plan.num_rows * num_kv_heads * (static_cast<std::uint64_t>(arguments.head_dim) + 2) * sizeof(float)};
  const SplitCosts& costs = plan.uses_warpgroups ? kWarpgroupCosts : kMmaCosts;
  plan.num_splits =
      arguments.num_splits > 0 ? arguments.num_splits : choose_num_splits(shape, costs, num_multiprocessors);
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
