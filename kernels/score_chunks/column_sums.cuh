// Second pass: the sum of every stored key's column of probabilities.
#pragma once

#include "kernels/score_chunks/score_task.cuh"

namespace reprefill::kernels::scoring {

/// Some keys against all rows of queries, a tile at a time. Keys are the left operand, so that a column's sum is one
/// over registers: only four lanes have to be added in the end, and no other block.
template <int kHeadDim>
class ColumnSumBlock {
 public:
  using Rows = device::Tile<kHeadDim>;
  static constexpr int kThreads = device::kTileThreads;
  static constexpr std::size_t kKeyBytes = static_cast<std::size_t>(kBlockRows) * Rows::kRowBytes;
  static constexpr std::size_t kTileBytes = static_cast<std::size_t>(kTileRows) * Rows::kRowBytes;
  static constexpr std::size_t kSharedBytes = kKeyBytes + 2 * kTileBytes + 2 * kTileRows * sizeof(float);

  __device__ __forceinline__ explicit ColumnSumBlock(const ScoreTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        num_rows_(task.num_rows()),
        first_slot_(blockIdx.x * static_cast<std::uint32_t>(kBlockRows)),
        group_(static_cast<int>(blockIdx.y)) {}

  __device__ __forceinline__ void run() {
    if (first_slot_ >= slots_.num_slots) return;
    const std::uint32_t num_tiles = (num_rows_ + kTileRows - 1) / kTileRows;
    Rows::template load_rows<kBlockRows>(shared_, task_.valid_address(), [&](int i) -> const BFloat16* {
      const std::uint32_t slot = first_slot_ + static_cast<std::uint32_t>(i);
      const auto place = slots_.place(slot);
      return slots_.holds(slot, place) ? task_.stored_key(group_, place) : nullptr;
    });
    if (num_tiles > 0) load_tile(0, 0);
    device::commit_copies();
    for (std::uint32_t tile = 0; tile < num_tiles; ++tile) {
      const int stage = static_cast<int>(tile % 2);
      device::wait_copies<0>();
      __syncthreads();
      if (tile + 1 < num_tiles) load_tile(tile + 1, stage ^ 1);
      device::commit_copies();
      add_tile(stage);
    }
    store();
  }

 private:
  __device__ __forceinline__ std::byte* queries(int stage) const {
    return shared_ + kKeyBytes + static_cast<std::size_t>(stage) * kTileBytes;
  }
  __device__ __forceinline__ float* log_sums(int stage) const {
    return reinterpret_cast<float*>(shared_ + kKeyBytes + 2 * kTileBytes) + stage * kTileRows;
  }

  __device__ __forceinline__ void load_tile(std::uint32_t tile, int stage) {
    const std::uint32_t first = tile * kTileRows;
    Rows::template load_rows<kTileRows>(queries(stage), task_.valid_address(), [&](int i) -> const BFloat16* {
      const std::uint32_t row = first + static_cast<std::uint32_t>(i);
      return row < num_rows_ ? task_.query(group_, row) : nullptr;
    });
    if (threadIdx.x < kTileRows) {
      const std::uint32_t row = first + threadIdx.x;
      log_sums(stage)[threadIdx.x] =
          row < num_rows_ ? task_.log_sums[static_cast<std::uint64_t>(group_) * task_.max_rows + row] : INFINITY;
    }
  }

  __device__ __forceinline__ void add_tile(int stage) {
    float logits[kMTiles][kNTiles][4];
    Rows::template multiply<kMTiles>(logits, shared_, device::warp_idx() * kRowsPerWarp, queries(stage));
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float log_sum = log_sums(stage)[device::fragment_column(n, i)];
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) {
          sums_[m][0] += device::exp2_fast(fmaf(logits[m][n][i], to_log2, -log_sum));
          sums_[m][1] += device::exp2_fast(fmaf(logits[m][n][i + 2], to_log2, -log_sum));
        }
      }
    }
  }

  __device__ __forceinline__ void store() const {
    const ScoreChunks& arguments = task_.arguments;
    float* scores = arguments.token_scores + static_cast<std::uint64_t>(group_) * arguments.token_stride;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float sum = device::quad_sum(sums_[m][half]);
        const int row = device::warp_idx() * kRowsPerWarp + device::fragment_row(m, half * 2);
        const std::uint32_t slot = first_slot_ + static_cast<std::uint32_t>(row);
        if ((device::lane_idx() & 3) != 0 || slot >= slots_.num_slots) continue;
        const float before = arguments.accumulate ? scores[slot] : 0.0f;
        scores[slot] = slots_.holds(slot, slots_.place(slot)) ? before + sum : 0.0f;
      }
    }
  }

  const ScoreTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;  // keys, two tiles of queries, their rows' log sums
  std::uint32_t num_rows_, first_slot_;
  int group_;
  float sums_[kMTiles][2] = {};
};

}  // namespace reprefill::kernels::scoring
