// Radix selection: three histograms of 11, 10 and 10 bits find the k-th score's bits, then one ordered compaction. One
// block a group: 2,000 chunks fit its threads twice, and nothing leaves shared memory in between.
#include "kernels/select_chunks/select_chunks.hpp"

#include "kernels/base/primitives.cuh"

namespace reprefill::kernels {
namespace {

using device::kAllLanes;
using device::kWarpLanes;
using device::lane_idx;
using device::warp_idx;

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kBins = 2048;
constexpr int kBinsPerThread = kBins / kThreads;
constexpr int kCached = 4;  // scores that a thread keeps in registers: units up to kCached * kThreads are read once

struct Shared {
  std::uint32_t bins[kBins];
  std::uint32_t warp_sums[kWarps];
  std::uint32_t chosen_bin, count_above;
  std::uint32_t errors;
};

/// Scores of one group as bits that order like the scores.
struct ScoreBits {
  const float* scores;
  std::uint32_t num_units;
  std::uint32_t cached[kCached];

  __device__ static std::uint32_t order_bits(float score) {
    return __float_as_uint(score == 0.0f ? 0.0f : score);  // minus zero ties with zero
  }
  __device__ void load() {
#pragma unroll
    for (int i = 0; i < kCached; ++i) {
      const std::uint32_t unit = threadIdx.x + static_cast<std::uint32_t>(i * kThreads);
      cached[i] = unit < num_units ? order_bits(scores[unit]) : 0;
    }
  }
  /// visit(unit, bits) for this thread's units; every thread of the block runs the same number of rounds, and gets
  /// unit >= num_units where it has none left.
  template <typename Visit>
  __device__ void for_rounds(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kCached; ++i) {
      const std::uint32_t first = static_cast<std::uint32_t>(i * kThreads);
      if (first < num_units) visit(first + threadIdx.x, cached[i]);
    }
    for (std::uint32_t first = kCached * kThreads; first < num_units; first += kThreads) {
      const std::uint32_t unit = first + threadIdx.x;
      visit(unit, unit < num_units ? order_bits(scores[unit]) : 0);
    }
  }
};

/// Sum over this and all earlier threads. Leaves warp_sums to be overwritten only after the next barrier.
__device__ std::uint32_t block_inclusive_sum(std::uint32_t value, std::uint32_t* warp_sums) {
#pragma unroll
  for (int step = 1; step < kWarpLanes; step *= 2) {
    const std::uint32_t below = __shfl_up_sync(kAllLanes, value, static_cast<unsigned>(step));
    if (lane_idx() >= step) value += below;
  }
  if (lane_idx() == kWarpLanes - 1) warp_sums[warp_idx()] = value;
  __syncthreads();
  std::uint32_t before = lane_idx() < warp_idx() ? warp_sums[lane_idx()] : 0;
#pragma unroll
  for (int step = kWarpLanes / 2; step > 0; step /= 2) before += __shfl_xor_sync(kAllLanes, before, step);
  return value + before;
}

/// Of the scores whose bits above `shift + num_bits` equal `prefix`'s: finds the digit of the `remaining`-th highest,
/// puts it into `prefix` and takes the scores above it off `remaining`.
__device__ void narrow(Shared& shared, const ScoreBits& bits, int shift, int num_bits, std::uint32_t& prefix,
                       std::uint32_t& remaining) {
  for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kThreads) shared.bins[bin] = 0;
  __syncthreads();
  const std::uint32_t mask = (1u << num_bits) - 1;
  bits.for_rounds([&](std::uint32_t unit, std::uint32_t value) {
    if (unit < bits.num_units && (value >> num_bits >> shift) == (prefix >> num_bits >> shift)) {
      atomicAdd(&shared.bins[(value >> shift) & mask], 1u);
    }
  });
  __syncthreads();
  // From the highest digit down: thread t has the bins kBins - 1 - t * kBinsPerThread and below.
  const std::uint32_t highest = static_cast<std::uint32_t>(kBins - 1) - threadIdx.x * kBinsPerThread;
  std::uint32_t own = 0;
#pragma unroll
  for (std::uint32_t i = 0; i < kBinsPerThread; ++i) own += shared.bins[highest - i];
  std::uint32_t above = block_inclusive_sum(own, shared.warp_sums) - own;
#pragma unroll
  for (std::uint32_t i = 0; i < kBinsPerThread; ++i) {
    const std::uint32_t count = shared.bins[highest - i];
    if (above < remaining && remaining <= above + count) {
      shared.chosen_bin = highest - i;
      shared.count_above = above;
    }
    above += count;
  }
  __syncthreads();
  prefix |= shared.chosen_bin << shift;
  remaining -= shared.count_above;
}

/// Writes the units above `threshold` and the first `num_ties` equal to it, in ascending order.
__device__ void compact(Shared& shared, const ScoreBits& bits, std::uint32_t threshold, std::uint32_t num_ties,
                        std::uint32_t* indices) {
  std::uint32_t above_before = 0, ties_before = 0;
  bits.for_rounds([&](std::uint32_t unit, std::uint32_t value) {
    const bool is_above = unit < bits.num_units && value > threshold;
    const bool is_tie = unit < bits.num_units && value == threshold;
    // Both counts in one word: at most kThreads each.
    const std::uint32_t own = (is_above ? 1u << 16 : 0u) | (is_tie ? 1u : 0u);
    const std::uint32_t before = block_inclusive_sum(own, shared.warp_sums) - own;
    const std::uint32_t above = above_before + (before >> 16), ties = ties_before + (before & 0xffffu);
    if (is_above || (is_tie && ties < num_ties)) indices[above + (ties < num_ties ? ties : num_ties)] = unit;
    if (threadIdx.x == kThreads - 1) shared.chosen_bin = before + own;
    __syncthreads();
    above_before += shared.chosen_bin >> 16;
    ties_before += shared.chosen_bin & 0xffffu;
    __syncthreads();
  });
}

__device__ std::uint32_t find_errors(Shared& shared, const float* scores, std::uint32_t num_units) {
  if (threadIdx.x == 0) shared.errors = 0;
  __syncthreads();
  std::uint32_t errors = 0;
  for (std::uint32_t unit = threadIdx.x; unit < num_units; unit += kThreads) {
    const float score = scores[unit];
    if (score != score) errors |= kScoreIsNan;
    if (score < 0.0f) errors |= kScoreIsNegative;
  }
  if (errors != 0) atomicOr(&shared.errors, errors);
  __syncthreads();
  return shared.errors;
}

__global__ void __launch_bounds__(kThreads) select_chunks_kernel(SelectChunks arguments) {
  __shared__ Shared shared;
  const std::uint32_t group = blockIdx.x;
  const SelectCounts counts = arguments.device_counts != nullptr ? *arguments.device_counts : arguments.counts;
  const auto minimum = [](std::uint32_t a, std::uint32_t b) { return a < b ? a : b; };
  ScoreBits bits{.scores = arguments.scores + std::uint64_t{group} * arguments.max_units,
                 .num_units = minimum(counts.num_units, arguments.max_units),
                 .cached = {}};
  const std::uint32_t errors = find_errors(shared, bits.scores, bits.num_units);
  const std::uint32_t num_chosen = errors != 0 ? 0 : minimum(minimum(counts.k, arguments.max_k), bits.num_units);
  if (threadIdx.x == 0) {
    arguments.errors[group] = errors;
    arguments.num_chosen[group] = num_chosen;
  }
  if (num_chosen == 0) return;

  bits.load();
  std::uint32_t threshold = 0, remaining = num_chosen;
  narrow(shared, bits, 20, 11, threshold, remaining);
  narrow(shared, bits, 10, 10, threshold, remaining);
  narrow(shared, bits, 0, 10, threshold, remaining);
  compact(shared, bits, threshold, remaining, arguments.indices + std::uint64_t{group} * arguments.max_k);
}

}  // namespace

void launch_select_chunks(const SelectChunks& arguments, cudaStream_t stream) {
  check_shape(arguments.num_chosen != nullptr && arguments.errors != nullptr, "select_chunks: an output is null");
  check_shape(arguments.max_units == 0 || arguments.scores != nullptr, "select_chunks: scores are null");
  check_shape(arguments.max_k == 0 || arguments.indices != nullptr, "select_chunks: indices are null");
  check_shape(arguments.device_counts != nullptr ||
                  (arguments.counts.num_units <= arguments.max_units && arguments.counts.k <= arguments.max_k),
              "select_chunks: {} units and k {} exceed the capacities {} and {}", arguments.counts.num_units,
              arguments.counts.k, arguments.max_units, arguments.max_k);
  if (arguments.num_groups == 0) return;
  device::launch(select_chunks_kernel, {.grid = dim3(arguments.num_groups), .block_threads = kThreads}, stream,
                 arguments);
}

}  // namespace reprefill::kernels
