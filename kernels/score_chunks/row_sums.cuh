// First pass: the softmax's denominator of every row of queries.
#pragma once

#include "kernels/score_chunks/row_sum_parts.cuh"

namespace reprefill::kernels::scoring {

/// Rows of queries against a range of tiles of keys: attention without values.
template <int kHeadDim>
class RowSumBlock {
 public:
  using Rows = device::Tile<kHeadDim>;
  static constexpr int kThreads = device::kTileThreads;
  static constexpr std::size_t kQueryBytes = static_cast<std::size_t>(kBlockRows) * Rows::kRowBytes;
  static constexpr std::size_t kTileBytes = static_cast<std::size_t>(kTileRows) * Rows::kRowBytes;
  static constexpr std::size_t kSharedBytes = kQueryBytes + 2 * kTileBytes + 2 * kTileRows;

  __device__ __forceinline__ explicit RowSumBlock(const ScoreTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        num_rows_(task.num_rows()),
        first_row_(blockIdx.x * static_cast<std::uint32_t>(kBlockRows)),
        group_(static_cast<int>(blockIdx.y)),
        split_(static_cast<int>(blockIdx.z)) {
    const std::uint32_t end = first_row_ + kBlockRows < num_rows_ ? first_row_ + kBlockRows : num_rows_;
    num_own_ = end > first_row_ ? task.arguments.first_query + task.heads.quotient(end - 1) + 1 : 0;
    num_prefix_tiles_ = (slots_.num_slots + kTileRows - 1) / kTileRows;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        maximum_[m][half] = -INFINITY;
        sum_[m][half] = 0;
        visible_own_[m][half] = task.arguments.first_query + task.heads.quotient(row(m, half)) + 1;
      }
    }
  }

  __device__ __forceinline__ void run() {
    const std::uint32_t num_tiles = num_own_ == 0 ? 0 : num_prefix_tiles_ + (num_own_ + kTileRows - 1) / kTileRows;
    const auto num_splits = static_cast<std::uint32_t>(task_.num_splits);
    const std::uint32_t per_split = (num_tiles + num_splits - 1) / num_splits;
    const std::uint32_t begin = static_cast<std::uint32_t>(split_) * per_split;
    const std::uint32_t end = begin + per_split < num_tiles ? begin + per_split : num_tiles;
    if (begin < end) {
      Rows::template load_rows<kBlockRows>(shared_, task_.valid_address(), [&](int i) -> const BFloat16* {
        const std::uint32_t idx = first_row_ + static_cast<std::uint32_t>(i);
        return idx < num_rows_ ? task_.query(group_, idx) : nullptr;
      });
      load_tile(begin, 0);
      device::commit_copies();
      for (std::uint32_t tile = begin; tile < end; ++tile) {
        const int stage = static_cast<int>((tile - begin) % 2);
        device::wait_copies<0>();
        __syncthreads();
        if (tile + 1 < end) load_tile(tile + 1, stage ^ 1);
        device::commit_copies();
        if (warp_first_row() < num_rows_) add_tile(tile, stage);
      }
    }
    store();
  }

 private:
  __device__ __forceinline__ std::uint32_t warp_first_row() const {
    return first_row_ + static_cast<std::uint32_t>(device::warp_idx() * kRowsPerWarp);
  }
  __device__ __forceinline__ std::uint32_t row(int m, int half) const {
    return warp_first_row() + static_cast<std::uint32_t>(device::fragment_row(m, half * 2));
  }
  __device__ __forceinline__ std::byte* keys(int stage) const {
    return shared_ + kQueryBytes + static_cast<std::size_t>(stage) * kTileBytes;
  }
  __device__ __forceinline__ std::uint8_t* held(int stage) const {
    return reinterpret_cast<std::uint8_t*>(shared_ + kQueryBytes + 2 * kTileBytes) + stage * kTileRows;
  }

  __device__ __forceinline__ void load_tile(std::uint32_t tile, int stage) {
    if (tile < num_prefix_tiles_) {
      const std::uint32_t first = tile * kTileRows;
      Rows::template load_rows<kTileRows>(keys(stage), task_.valid_address(), [&](int i) -> const BFloat16* {
        const std::uint32_t slot = first + static_cast<std::uint32_t>(i);
        const auto place = slots_.place(slot);
        return slots_.holds(slot, place) ? task_.stored_key(group_, place) : nullptr;
      });
      if (threadIdx.x < kTileRows) {
        held(stage)[threadIdx.x] = slots_.holds(first + threadIdx.x, slots_.place(first + threadIdx.x)) ? 1 : 0;
      }
    } else {
      const std::uint32_t first = (tile - num_prefix_tiles_) * kTileRows;
      Rows::template load_rows<kTileRows>(keys(stage), task_.valid_address(), [&](int i) -> const BFloat16* {
        const std::uint32_t key = first + static_cast<std::uint32_t>(i);
        return key < num_own_ ? task_.own_key(group_, key) : nullptr;
      });
    }
  }

  __device__ __forceinline__ void add_tile(std::uint32_t tile, int stage) {
    float logits[kMTiles][kNTiles][4];
    Rows::template multiply<kMTiles>(logits, shared_, device::warp_idx() * kRowsPerWarp, keys(stage));
    if (tile < num_prefix_tiles_)
      mask_prefix(logits, tile, stage);
    else
      mask_own(logits, (tile - num_prefix_tiles_) * kTileRows);
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float highest = maximum_[m][half];
#pragma unroll
        for (int n = 0; n < kNTiles; ++n) {
          highest = fmaxf(highest, fmaxf(logits[m][n][2 * half], logits[m][n][2 * half + 1]));
        }
        highest = device::quad_max(highest);
        const float reference = highest == -INFINITY ? 0.0f : highest * to_log2;
        float added = 0;
#pragma unroll
        for (int n = 0; n < kNTiles; ++n) {
          added += device::exp2_fast(fmaf(logits[m][n][2 * half], to_log2, -reference));
          added += device::exp2_fast(fmaf(logits[m][n][2 * half + 1], to_log2, -reference));
        }
        sum_[m][half] = sum_[m][half] * device::exp2_fast(maximum_[m][half] * to_log2 - reference) + added;
        maximum_[m][half] = highest;
      }
    }
  }

  __device__ __forceinline__ void mask_prefix(float (&logits)[kMTiles][kNTiles][4], std::uint32_t tile,
                                              int stage) const {
    if (slots_.tokens_per_page == nullptr && (tile + 1) * kTileRows <= slots_.num_slots) return;
#pragma unroll
    for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (held(stage)[device::fragment_column(n, i)] != 0) continue;
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) logits[m][n][i] = logits[m][n][i + 2] = -INFINITY;
      }
    }
  }
  __device__ __forceinline__ void mask_own(float (&logits)[kMTiles][kNTiles][4], std::uint32_t first_key) const {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const std::uint32_t key = first_key + static_cast<std::uint32_t>(device::fragment_column(n, i));
          if (key >= visible_own_[m][i >> 1]) logits[m][n][i] = -INFINITY;
        }
      }
    }
  }

  __device__ __forceinline__ void store() const {
    const RowSumParts parts(task_, group_, split_, first_row_);
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) parts.store(row(m, half), maximum_[m][half], sum_[m][half]);
    }
    parts.merge_if_last(num_rows_);
  }

  const ScoreTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;  // queries, two tiles of keys, which of their slots hold a token
  std::uint32_t num_rows_, first_row_;
  int group_, split_;
  std::uint32_t num_own_, num_prefix_tiles_;
  std::uint32_t visible_own_[kMTiles][2];
  float maximum_[kMTiles][2];
  float sum_[kMTiles][2];  // of this lane's columns
};

}  // namespace reprefill::kernels::scoring
