#include "kernels/chunk_attention/chunk_attention.hpp"

#include "kernels/chunk_attention/attention_block.cuh"
#include "kernels/chunk_attention/attention_plan.hpp"
#ifdef REPREFILL_HAS_SM90A
#include "kernels/chunk_attention/hopper_attention.cuh"
#endif

namespace reprefill::kernels {
namespace {

using attention::AttentionBlock;
using attention::AttentionTask;

// Two blocks a multiprocessor: one multiplies while the other waits for keys or computes exponentials.
template <int kHeadDim, int kRowsPerWarp, bool kMasked>
__global__ void __launch_bounds__(device::kTileThreads, 2)
    attention_kernel(const __grid_constant__ AttentionTask task) {
  AttentionBlock<kHeadDim, kRowsPerWarp, kMasked>(task).run();
}

#ifdef REPREFILL_HAS_SM90A
template <int kHeadDim, bool kMasked>
__global__ void __launch_bounds__(attention::HopperAttentionBlock<kHeadDim, kMasked>::kThreads, 1)
    hopper_attention_kernel(const __grid_constant__ AttentionTask task) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  device::allow_next_kernel();
  attention::HopperAttentionBlock<kHeadDim, kMasked>(task).run();
#else
  __trap();
#endif
}
#endif

constexpr unsigned kCombineThreads = 128;
constexpr unsigned kCombineRows = kCombineThreads / device::kWarpLanes;

/// A row's splits, as each lane sees them: lane l has splits l and l + 32.
struct SplitWeights {
  static constexpr int kPerLane = kMaxSplits / device::kWarpLanes;
  float weights[kPerLane];
  float sum;

  __device__ SplitWeights(const AttentionTask& task, int kv_head, std::uint32_t row) {
    float highest = -INFINITY;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int split = device::lane_idx() + i * device::kWarpLanes;
      weights[i] = split < task.num_splits ? task.partial_maximum[task.partial_idx(split, kv_head, row)] : -INFINITY;
      highest = fmaxf(highest, weights[i]);
    }
#pragma unroll
    for (int step = device::kWarpLanes / 2; step > 0; step /= 2) {
      highest = fmaxf(highest, __shfl_xor_sync(device::kAllLanes, highest, step));
    }
    const float reference = highest == -INFINITY ? 0.0f : highest;
    sum = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int split = device::lane_idx() + i * device::kWarpLanes;
      weights[i] = device::exp2_fast(weights[i] - reference);
      if (split < task.num_splits) sum += weights[i] * task.partial_sum[task.partial_idx(split, kv_head, row)];
    }
    sum = device::warp_sum(sum);
  }
};

/// One warp a row: the splits' outputs, weighted, in ascending order.
template <int kHeadDim>
__global__ void __launch_bounds__(kCombineThreads) combine_kernel(const __grid_constant__ AttentionTask task) {
  constexpr int kPerLane = kHeadDim / device::kWarpLanes;
  const std::uint32_t row = blockIdx.x * kCombineRows + static_cast<std::uint32_t>(device::warp_idx());
  const int kv_head = static_cast<int>(blockIdx.y);
  if (row >= task.num_rows) return;
  device::wait_for_previous_kernel();
  const SplitWeights splits(task, kv_head, row);
  float out[kPerLane] = {};
#pragma unroll
  for (int i = 0; i < SplitWeights::kPerLane; ++i) {
    const int first = i * device::kWarpLanes;
    const int count = task.num_splits - first < device::kWarpLanes ? task.num_splits - first : device::kWarpLanes;
#pragma unroll 4
    for (int j = 0; j < count; ++j) {
      const float weight = __shfl_sync(device::kAllLanes, splits.weights[i], j);
      if (weight == 0) continue;  // also where there was no key, and no output was stored
      const float* from = task.partial_out + task.partial_idx(first + j, kv_head, row) * kHeadDim;
#pragma unroll
      for (int k = 0; k < kPerLane; ++k) out[k] = fmaf(weight, from[device::lane_idx() * kPerLane + k], out[k]);
    }
  }
  const float inverse = 1.0f / splits.sum;
  BFloat16* to = task.arguments.out + task.query_offset(kv_head, row) + device::lane_idx() * kPerLane;
#pragma unroll
  for (int k = 0; k < kPerLane; k += 2) {
    *reinterpret_cast<std::uint32_t*>(to + k) = device::pack_bf16(out[k] * inverse, out[k + 1] * inverse);
  }
}

void check(const ChunkAttention& a) {
  check_shape(a.head_dim == 64 || a.head_dim == 128, "chunk_attention: head_dim {}: 64 and 128 are built", a.head_dim);
  check_shape(a.num_kv_heads > 0 && a.num_query_heads > 0 && a.num_query_heads % a.num_kv_heads == 0 &&
                  a.num_query_heads / a.num_kv_heads <= 16,
              "chunk_attention: {} query heads over {} KV heads: 1 to 16 each", a.num_query_heads, a.num_kv_heads);
  check_shape(a.num_queries <= kMaxQueries, "chunk_attention: {} queries: at most {}", a.num_queries, kMaxQueries);
  check_shape(a.scale > 0, "chunk_attention: scale {} is not positive", a.scale);
  check_shape(a.num_splits >= 0 && a.num_splits <= kMaxSplits, "chunk_attention: {} splits: at most {}", a.num_splits,
              kMaxSplits);
  const PagedTokens& tokens = a.prefix.tokens;
  check_shape(tokens.page_tokens >= 1 && tokens.page_tokens <= kMaxPageTokens,
              "chunk_attention: pages of {} tokens: 1 to {}", tokens.page_tokens, kMaxPageTokens);
  check_shape(tokens.num_slots <= kMaxSlots && a.first_query <= kMaxSlots,
              "chunk_attention: {} slots, {} earlier own tokens: at most {}", tokens.num_slots, a.first_query,
              kMaxSlots);
  const bool has_mask = a.prefix.keep_k != nullptr || a.prefix.keep_v != nullptr;
  check_shape(!has_mask || a.prefix.mask_stride >= tokens.num_slots, "chunk_attention: masks of {} slots for {}",
              a.prefix.mask_stride, tokens.num_slots);
}

void check_pointers(const ChunkAttention& a, std::size_t needed_bytes) {
  check_shape(a.queries != nullptr && a.own_keys != nullptr && a.own_values != nullptr && a.out != nullptr,
              "chunk_attention: a pointer is null");
  check_shape(a.prefix.tokens.num_slots == 0 || (a.prefix.key_pages != nullptr && a.prefix.value_pages != nullptr),
              "chunk_attention: pages are null");
  check_shape(needed_bytes == 0 || (a.workspace != nullptr && a.workspace_bytes >= needed_bytes),
              "chunk_attention: a workspace of {} bytes, {} are needed", a.workspace_bytes, needed_bytes);
}

template <typename Block>
void launch_blocks(void (*kernel)(AttentionTask), const AttentionTask& task, const AttentionPlan& plan,
                   cudaStream_t stream) {
  const dim3 grid(plan.num_row_tiles, static_cast<unsigned>(task.arguments.num_kv_heads),
                  static_cast<unsigned>(plan.num_splits));
  device::launch(kernel, {.grid = grid, .block_threads = Block::kThreads, .shared_bytes = Block::kSharedBytes}, stream,
                 task);
}

template <int kHeadDim, bool kMasked>
void launch_attention(const AttentionTask& task, const AttentionPlan& plan, cudaStream_t stream) {
#ifdef REPREFILL_HAS_SM90A
  if (plan.uses_warpgroups) {
    using Block = attention::HopperAttentionBlock<kHeadDim, kMasked>;
    static_assert(Block::kRows == kWarpgroupTileRows && Block::kTileKeys == kWarpgroupTileKeys);
    launch_blocks<Block>(hopper_attention_kernel<kHeadDim, kMasked>, task, plan, stream);
    return;
  }
#endif
  if (plan.rows_per_warp == 16)
    launch_blocks<AttentionBlock<kHeadDim, 16, kMasked>>(attention_kernel<kHeadDim, 16, kMasked>, task, plan, stream);
  else
    launch_blocks<AttentionBlock<kHeadDim, 32, kMasked>>(attention_kernel<kHeadDim, 32, kMasked>, task, plan, stream);
}

template <int kHeadDim>
void launch_all(const AttentionTask& task, const AttentionPlan& plan, cudaStream_t stream) {
  const PagedKv& prefix = task.arguments.prefix;
  const bool is_masked =
      prefix.keep_k != nullptr || prefix.keep_v != nullptr || prefix.tokens.tokens_per_page != nullptr;
  if (is_masked)
    launch_attention<kHeadDim, true>(task, plan, stream);
  else
    launch_attention<kHeadDim, false>(task, plan, stream);
  if (plan.num_splits == 1) return;
  const dim3 grid((task.num_rows + kCombineRows - 1) / kCombineRows,
                  static_cast<unsigned>(task.arguments.num_kv_heads));
  device::launch(combine_kernel<kHeadDim>,
                 {.grid = grid, .block_threads = kCombineThreads, .overlaps_previous = plan.uses_warpgroups}, stream,
                 task);
}

}  // namespace

std::size_t chunk_attention_workspace_bytes(const ChunkAttention& arguments) {
  check(arguments);
  return workspace_bytes(
      arguments, plan_attention(arguments, device::device_limits().num_multiprocessors, device::has_warpgroups()));
}

void launch_chunk_attention(const ChunkAttention& arguments, cudaStream_t stream) {
  check(arguments);
  if (arguments.num_queries == 0) return;
  const AttentionPlan plan =
      plan_attention(arguments, device::device_limits().num_multiprocessors, device::has_warpgroups());
  check_pointers(arguments, workspace_bytes(arguments, plan));

  AttentionTask task;
  task.arguments = arguments;
  task.pages = device::FastDivide::by(arguments.prefix.tokens.page_tokens);
  task.group = device::FastDivide::by(static_cast<std::uint32_t>(arguments.num_query_heads / arguments.num_kv_heads));
  task.num_rows = plan.num_rows;
  task.num_splits = plan.num_splits;
  if (plan.num_splits > 1) {
    const std::size_t num_partials =
        static_cast<std::size_t>(plan.num_splits) * static_cast<std::size_t>(arguments.num_kv_heads) * plan.num_rows;
    task.partial_out = static_cast<float*>(arguments.workspace);
    task.partial_maximum = task.partial_out + num_partials * static_cast<std::size_t>(arguments.head_dim);
    task.partial_sum = task.partial_maximum + num_partials;
  }
  if (arguments.head_dim == 64)
    launch_all<64>(task, plan, stream);
  else
    launch_all<128>(task, plan, stream);
}

}  // namespace reprefill::kernels
