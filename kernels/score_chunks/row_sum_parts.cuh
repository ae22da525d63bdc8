// Blocks that share the keys of some rows leave their parts of the softmax's denominators here; the last one merges.
#pragma once

#include "kernels/score_chunks/score_task.cuh"

namespace reprefill::kernels::scoring {

class RowSumParts {
 public:
  __device__ __forceinline__ RowSumParts(const ScoreTask& task, int group, int split, std::uint32_t first_row)
      : task_(task), group_(group), split_(split), first_row_(first_row) {}

  /// `maximum` of raw logits; `sum` of this lane's columns, added over the four lanes that share the row.
  __device__ __forceinline__ void store(std::uint32_t row, float maximum, float sum) const {
    sum = device::quad_sum(sum);
    if ((device::lane_idx() & 3) != 0 || row >= task_.max_rows) return;
    task_.partial_maximum[partial_idx(split_, row)] = maximum * (task_.arguments.scale * kLog2E);
    task_.partial_sum[partial_idx(split_, row)] = sum;
  }

  /// By all threads of the block.
  __device__ __forceinline__ void merge_if_last(std::uint32_t num_rows) const {
    if (is_last_split()) merge_splits(num_rows);
  }

 private:
  __device__ __forceinline__ std::uint64_t partial_idx(int split, std::uint32_t row) const {
    return static_cast<std::uint64_t>(split * task_.arguments.num_groups + group_) * task_.max_rows + row;
  }

  /// Whether all other splits of these rows have stored their parts. Sets the count back for the next launch.
  __device__ __forceinline__ bool is_last_split() const {
    __shared__ bool is_last;
    __threadfence();  // this thread's parts are visible before the count that announces them
    __syncthreads();
    if (threadIdx.x == 0) {
      std::uint32_t* count = task_.num_finished + static_cast<std::uint32_t>(group_) * task_.num_row_tiles + blockIdx.x;
      is_last = atomicAdd(count, 1u) == static_cast<std::uint32_t>(task_.num_splits) - 1;
      if (is_last) *count = 0;
    }
    __syncthreads();
    __threadfence();
    return is_last;
  }

  /// In ascending order of splits, whichever block came last. A row that does not exist gets +inf: it adds nothing.
  __device__ __forceinline__ void merge_splits(std::uint32_t num_rows) const {
    const std::uint32_t idx = first_row_ + threadIdx.x;
    if (threadIdx.x >= kBlockRows || idx >= task_.max_rows) return;
    // Volatile: past L1, which other blocks' stores do not reach.
    const volatile float* maxima = task_.partial_maximum;
    const volatile float* sums = task_.partial_sum;
    float highest = -INFINITY, sum = 0;
#pragma unroll 4
    for (int split = 0; split < task_.num_splits; ++split) highest = fmaxf(highest, maxima[partial_idx(split, idx)]);
    const float reference = highest == -INFINITY ? 0.0f : highest;
#pragma unroll 4
    for (int split = 0; split < task_.num_splits; ++split) {
      const std::uint64_t part = partial_idx(split, idx);
      sum += sums[part] * device::exp2_fast(maxima[part] - reference);
    }
    float* log_sum = task_.log_sums + static_cast<std::uint64_t>(group_) * task_.max_rows + idx;
    *log_sum = idx < num_rows ? reference + log2f(sum) : INFINITY;
  }

  const ScoreTask& task_;
  int group_, split_;
  std::uint32_t first_row_;
};

}  // namespace reprefill::kernels::scoring
