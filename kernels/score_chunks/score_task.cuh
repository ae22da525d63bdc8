// What both passes of scoring know.
#pragma once

#include "kernels/base/tiles.cuh"
#include "kernels/score_chunks/score_chunks.hpp"

namespace reprefill::kernels::scoring {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr int kTileRows = device::kTileRows;
/// Rows of queries in a block of the first pass, keys in a block of the second.
inline constexpr int kBlockRows = 128;
inline constexpr int kRowsPerWarp = kBlockRows / device::kTileWarps;
inline constexpr int kMTiles = kRowsPerWarp / 16;
inline constexpr int kNTiles = kTileRows / 8;

struct ScoreTask {
  ScoreChunks arguments;
  device::FastDivide pages;
  device::FastDivide heads;    // rows to queries: row = query * heads_per_group + head within the group
  std::uint32_t max_rows = 0;  // of a group
  std::uint32_t num_row_tiles = 0;
  int num_splits = 1;
  bool uses_warpgroups = false;
  float* partial_maximum = nullptr;  // [num_splits][num_groups][max_rows], in units of log2
  float* partial_sum = nullptr;
  float* log_sums = nullptr;              // [num_groups][max_rows]: log2 of the softmax's denominator
  std::uint32_t* num_finished = nullptr;  // [num_groups][num_row_tiles]

  __device__ __forceinline__ std::uint32_t num_rows() const {
    const std::uint32_t num_queries =
        arguments.device_num_queries != nullptr ? *arguments.device_num_queries : arguments.num_queries;
    return num_queries * heads.divisor;
  }
  __device__ __forceinline__ const BFloat16* query(int group, std::uint32_t row) const {
    const std::uint32_t query = heads.quotient(row);
    const std::uint32_t head =
        static_cast<std::uint32_t>(arguments.groups[group].first_query_head) + (row - query * heads.divisor);
    return arguments.queries + (std::uint64_t{query} * static_cast<std::uint32_t>(arguments.num_query_heads) + head) *
                                   static_cast<std::uint32_t>(arguments.head_dim);
  }
  __device__ __forceinline__ std::uint64_t partial_idx(int split, int group, std::uint32_t row) const {
    return static_cast<std::uint64_t>(split * arguments.num_groups + group) * max_rows + row;
  }
  /// log2 of the row's denominator, of all splits' parts in ascending order.
  __device__ __forceinline__ float merged_log_sum(int group, std::uint32_t row) const {
    // Volatile: past L1, which other blocks' stores do not reach.
    const volatile float* maxima = partial_maximum;
    const volatile float* sums = partial_sum;
    float highest = -INFINITY, sum = 0;
#pragma unroll 8
    for (int split = 0; split < num_splits; ++split) highest = fmaxf(highest, maxima[partial_idx(split, group, row)]);
    const float reference = highest == -INFINITY ? 0.0f : highest;
#pragma unroll 8
    for (int split = 0; split < num_splits; ++split) {
      const std::uint64_t part = partial_idx(split, group, row);
      sum += sums[part] * device::exp2_fast(maxima[part] - reference);
    }
    return reference + log2f(sum);
  }
  /// Never read from: see Tile::load_rows. Without queries there are still pages.
  __device__ __forceinline__ const BFloat16* valid_address() const {
    return arguments.queries != nullptr ? arguments.queries : device::load_pointer(arguments.prefix.pages);
  }
  __device__ __forceinline__ const BFloat16* stored_key(int group, const device::SlotMap::Place& place) const {
    const std::uint64_t row = std::uint64_t{place.offset} * arguments.prefix.num_heads +
                              static_cast<std::uint32_t>(arguments.groups[group].stored_head);
    return device::load_pointer(arguments.prefix.pages + place.page) +
           row * static_cast<std::uint32_t>(arguments.head_dim);
  }
  __device__ __forceinline__ const BFloat16* own_key(int group, std::uint32_t key) const {
    const std::uint64_t row = std::uint64_t{key} * static_cast<std::uint32_t>(arguments.num_kv_heads) +
                              static_cast<std::uint32_t>(arguments.groups[group].own_head);
    return arguments.own_keys + row * static_cast<std::uint32_t>(arguments.head_dim);
  }
};

}  // namespace reprefill::kernels::scoring
