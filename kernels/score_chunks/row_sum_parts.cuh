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
    task_.partial_maximum[task_.partial_idx(split_, group_, row)] = maximum * (task_.arguments.scale * kLog2E);
    task_.partial_sum[task_.partial_idx(split_, group_, row)] = sum;
  }

  /// By all threads of the block, one for each of its rows.
  __device__ __forceinline__ void merge_if_last(std::uint32_t num_rows) const {
    if (is_last_split()) merge_splits(num_rows);
  }

 private:
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

  /// Whichever block came last. A row that does not exist gets +inf: it adds nothing.
  __device__ __forceinline__ void merge_splits(std::uint32_t num_rows) const {
    const std::uint32_t row = first_row_ + threadIdx.x;
    if (row >= task_.max_rows) return;
    float* log_sum = task_.log_sums + static_cast<std::uint64_t>(group_) * task_.max_rows + row;
    *log_sum = row < num_rows ? task_.merged_log_sum(group_, row) : INFINITY;
  }

  const ScoreTask& task_;
  int group_, split_;
  std::uint32_t first_row_;
};

}  // namespace reprefill::kernels::scoring
