#include "kernels/score_chunks/score_chunks.hpp"

#include <algorithm>

#include "kernels/score_chunks/column_sums.cuh"
#include "kernels/score_chunks/row_sums.cuh"
#ifdef REPREFILL_HAS_SM90A
#include "kernels/score_chunks/hopper_column_sums.cuh"
#include "kernels/score_chunks/hopper_row_sums.cuh"
#endif

namespace reprefill::kernels {
namespace {

using scoring::ColumnSumBlock;
using scoring::kBlockRows;
using scoring::RowSumBlock;
using scoring::ScoreTask;

constexpr unsigned kBlocksAtOnce = 3;  // a multiprocessor: what 64 KiB of shared memory each allow
constexpr int kMaxScoreSplits = 32;
constexpr unsigned kChunkThreads = 128, kChunkLanes = 16;

template <int kHeadDim>
__global__ void __launch_bounds__(device::kTileThreads, kBlocksAtOnce)
    row_sums_kernel(const __grid_constant__ ScoreTask task) {
  RowSumBlock<kHeadDim>(task).run();
}

template <int kHeadDim>
__global__ void __launch_bounds__(device::kTileThreads, kBlocksAtOnce)
    column_sums_kernel(const __grid_constant__ ScoreTask task) {
  ColumnSumBlock<kHeadDim>(task).run();
}

#ifdef REPREFILL_HAS_SM90A
template <int kHeadDim>
__global__ void __launch_bounds__(scoring::HopperRowSumBlock<kHeadDim>::kThreads, 1)
    hopper_row_sums_kernel(const __grid_constant__ ScoreTask task) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  device::allow_next_kernel();
  scoring::HopperRowSumBlock<kHeadDim>(task).run();
#else
  __trap();
#endif
}

template <int kHeadDim, int kRowTiles>
__global__ void __launch_bounds__(scoring::HopperColumnSumBlock<kHeadDim, kRowTiles>::kThreads, 1)
    hopper_column_sums_kernel(const __grid_constant__ ScoreTask task) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  device::allow_next_kernel();
  scoring::HopperColumnSumBlock<kHeadDim, kRowTiles>(task).run();
#else
  __trap();
#endif
}
#endif

/// Half a warp a chunk: each lane its tokens in ascending order, group after group.
__global__ void __launch_bounds__(kChunkThreads) chunk_sums_kernel(const __grid_constant__ ScoreTask task) {
  const ScoreChunks& arguments = task.arguments;
  const device::SlotMap slots(arguments.prefix.tokens, task.pages);
  const std::uint32_t page = (blockIdx.x * kChunkThreads + threadIdx.x) / kChunkLanes;
  const std::uint32_t lane = threadIdx.x % kChunkLanes;
  const std::uint64_t first_slot = std::uint64_t{page} * slots.page_tokens;
  const std::uint64_t end =
      first_slot + slots.page_tokens < slots.num_slots ? first_slot + slots.page_tokens : slots.num_slots;
  const int first_group = static_cast<int>(blockIdx.y);
  const int end_group = arguments.sum_groups ? arguments.num_groups : first_group + 1;
  device::wait_for_previous_kernel();
  float sum = 0;
#pragma unroll 4
  for (int group = first_group; group < end_group; ++group) {
    const float* scores = arguments.token_scores + static_cast<std::uint64_t>(group) * arguments.token_stride;
    for (std::uint64_t slot = first_slot + lane; slot < end; slot += kChunkLanes) sum += scores[slot];
  }
#pragma unroll
  for (int step = kChunkLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(device::kAllLanes, sum, step);
  if (lane == 0 && first_slot < slots.num_slots) {
    arguments.chunk_scores[static_cast<std::uint64_t>(first_group) * arguments.chunk_stride + page] = sum;
  }
}

void check(const ScoreChunks& a) {
  check_shape(a.head_dim == 64 || a.head_dim == 128, "score_chunks: head_dim {}: 64 and 128 are built", a.head_dim);
  check_shape(a.num_groups >= 1 && a.num_groups <= kMaxScoreGroups, "score_chunks: {} groups: 1 to {}", a.num_groups,
              kMaxScoreGroups);
  check_shape(a.heads_per_group >= 1 && a.heads_per_group <= 16, "score_chunks: {} heads a group: 1 to 16",
              a.heads_per_group);
  for (int i = 0; i < a.num_groups; ++i) {
    const ScoreGroup& group = a.groups[i];
    check_shape(group.first_query_head >= 0 && group.first_query_head + a.heads_per_group <= a.num_query_heads &&
                    group.stored_head >= 0 && static_cast<std::uint32_t>(group.stored_head) < a.prefix.num_heads &&
                    group.own_head >= 0 && group.own_head < a.num_kv_heads,
                "score_chunks: group {} reads query heads from {}, stored head {}, own head {}", i,
                group.first_query_head, group.stored_head, group.own_head);
  }
  check_shape(a.num_queries <= 2048, "score_chunks: {} queries: at most 2048", a.num_queries);
  check_shape(a.scale > 0, "score_chunks: scale {} is not positive", a.scale);
  const PagedTokens& tokens = a.prefix.tokens;
  check_shape(tokens.page_tokens >= 1 && tokens.page_tokens <= kMaxPageTokens,
              "score_chunks: pages of {} tokens: 1 to {}", tokens.page_tokens, kMaxPageTokens);
  check_shape(tokens.num_slots <= kMaxSlots && a.first_query <= kMaxSlots,
              "score_chunks: {} slots, {} earlier own tokens: at most {}", tokens.num_slots, a.first_query, kMaxSlots);
  check_shape(a.token_stride >= tokens.num_slots && a.chunk_stride >= tokens.num_pages(),
              "score_chunks: room for {} tokens and {} chunks, {} and {} are needed", a.token_stride, a.chunk_stride,
              tokens.num_slots, tokens.num_pages());
  check_shape(a.num_splits >= 0 && a.num_splits <= kMaxScoreSplits, "score_chunks: {} splits: at most {}", a.num_splits,
              kMaxScoreSplits);
}

ScoreTask plan(const ScoreChunks& arguments) {
  ScoreTask task;
  task.arguments = arguments;
  task.pages = device::FastDivide::by(arguments.prefix.tokens.page_tokens);
  task.heads = device::FastDivide::by(static_cast<std::uint32_t>(arguments.heads_per_group));
  task.max_rows = arguments.num_queries * static_cast<std::uint32_t>(arguments.heads_per_group);
  task.num_row_tiles = (task.max_rows + kBlockRows - 1) / kBlockRows;
  task.uses_warpgroups = arguments.instructions == Instructions::automatic && device::has_warpgroups();
  if (arguments.num_splits > 0) {
    task.num_splits = arguments.num_splits;
    return task;
  }
  // Enough blocks for one wave, and at least four tiles of keys each, so that loading the queries pays.
  const std::uint64_t num_units =
      std::max<std::uint64_t>(std::uint64_t{task.num_row_tiles} * static_cast<std::uint64_t>(arguments.num_groups), 1);
  const std::uint64_t num_places = static_cast<std::uint64_t>(device::device_limits().num_multiprocessors) *
                                   (task.uses_warpgroups ? 1 : kBlocksAtOnce);
  const std::uint64_t num_keys =
      std::uint64_t{arguments.prefix.tokens.num_slots} + arguments.first_query + arguments.num_queries;
  const std::uint64_t most = std::clamp<std::uint64_t>(num_keys / (4 * scoring::kTileRows), 1, kMaxScoreSplits);
  task.num_splits = static_cast<int>(std::clamp<std::uint64_t>(num_places / num_units, 1, most));
  return task;
}

std::size_t num_partials(const ScoreTask& task) {
  return static_cast<std::size_t>(task.num_splits) * static_cast<std::size_t>(task.arguments.num_groups) *
         task.max_rows;
}

/// Counters come first, at a place that no other shape uses for anything else.
constexpr std::size_t kMaxCounters = kMaxScoreGroups * (2048 * 16 / kBlockRows);

std::size_t workspace_bytes(const ScoreTask& task) {
  const std::size_t num_log_sums = static_cast<std::size_t>(task.arguments.num_groups) * task.max_rows;
  return kMaxCounters * sizeof(std::uint32_t) + (2 * num_partials(task) + num_log_sums) * sizeof(float);
}

template <typename Block>
void launch_row_sums(void (*kernel)(ScoreTask), const ScoreTask& task, cudaStream_t stream) {
  if (task.num_row_tiles == 0) return;
  device::launch(kernel,
                 {.grid = dim3(task.num_row_tiles, static_cast<unsigned>(task.arguments.num_groups),
                               static_cast<unsigned>(task.num_splits)),
                  .block_threads = Block::kThreads,
                  .shared_bytes = Block::kSharedBytes},
                 stream, task);
}

template <typename Block>
void launch_column_sums(void (*kernel)(ScoreTask), unsigned num_blocks, const ScoreTask& task, cudaStream_t stream) {
  device::launch(kernel,
                 {.grid = dim3(num_blocks, static_cast<unsigned>(task.arguments.num_groups)),
                  .block_threads = Block::kThreads,
                  .shared_bytes = Block::kSharedBytes,
                  .overlaps_previous = task.uses_warpgroups && task.num_row_tiles > 0},
                 stream, task);
}

#ifdef REPREFILL_HAS_SM90A
template <int kHeadDim, int kRowTiles>
void launch_hopper_column_sums(const ScoreTask& task, cudaStream_t stream) {
  using Block = scoring::HopperColumnSumBlock<kHeadDim, kRowTiles>;
  const unsigned num_tiles = (task.arguments.prefix.tokens.num_slots + Block::kTileKeys - 1) / Block::kTileKeys;
  const auto num_places = static_cast<unsigned>(device::device_limits().num_multiprocessors);
  const unsigned num_blocks = std::clamp(num_places / static_cast<unsigned>(task.arguments.num_groups), 1u, num_tiles);
  launch_column_sums<Block>(hopper_column_sums_kernel<kHeadDim, kRowTiles>, num_blocks, task, stream);
}

template <int kHeadDim>
void launch_hopper(const ScoreTask& task, cudaStream_t stream) {
  launch_row_sums<scoring::HopperRowSumBlock<kHeadDim>>(hopper_row_sums_kernel<kHeadDim>, task, stream);
  switch (task.num_row_tiles) {
    case 0:
    case 1:
      return launch_hopper_column_sums<kHeadDim, 1>(task, stream);
    case 2:
      return launch_hopper_column_sums<kHeadDim, 2>(task, stream);
    case 3:
      return launch_hopper_column_sums<kHeadDim, 3>(task, stream);
    default:
      return launch_hopper_column_sums<kHeadDim, 4>(task, stream);
  }
}
#else
template <int kHeadDim>
void launch_hopper(const ScoreTask&, cudaStream_t) {}
#endif

template <int kHeadDim>
void launch_all(const ScoreTask& task, cudaStream_t stream) {
  const PagedTokens& tokens = task.arguments.prefix.tokens;
  if (task.uses_warpgroups) {
    launch_hopper<kHeadDim>(task, stream);
  } else {
    launch_row_sums<RowSumBlock<kHeadDim>>(row_sums_kernel<kHeadDim>, task, stream);
    launch_column_sums<ColumnSumBlock<kHeadDim>>(column_sums_kernel<kHeadDim>,
                                                 (tokens.num_slots + kBlockRows - 1) / kBlockRows, task, stream);
  }
  device::launch(chunk_sums_kernel,
                 {.grid = dim3((tokens.num_pages() * kChunkLanes + kChunkThreads - 1) / kChunkThreads,
                               task.arguments.sum_groups ? 1 : static_cast<unsigned>(task.arguments.num_groups)),
                  .block_threads = kChunkThreads,
                  .overlaps_previous = task.uses_warpgroups},
                 stream, task);
}

}  // namespace

std::size_t score_chunks_workspace_bytes(const ScoreChunks& arguments) {
  check(arguments);
  return workspace_bytes(plan(arguments));
}

void launch_score_chunks(const ScoreChunks& arguments, cudaStream_t stream) {
  check(arguments);
  if (arguments.prefix.tokens.num_slots == 0) return;
  ScoreTask task = plan(arguments);
  check_shape(
      arguments.prefix.pages != nullptr && arguments.token_scores != nullptr && arguments.chunk_scores != nullptr,
      "score_chunks: a pointer is null");
  check_shape(arguments.num_queries == 0 || (arguments.queries != nullptr && arguments.own_keys != nullptr),
              "score_chunks: queries or own keys are null");
  const std::size_t needed_bytes = workspace_bytes(task);
  check_shape(arguments.workspace != nullptr && arguments.workspace_bytes >= needed_bytes,
              "score_chunks: a workspace of {} bytes, {} are needed", arguments.workspace_bytes, needed_bytes);
  task.num_finished = static_cast<std::uint32_t*>(arguments.workspace);
  task.partial_maximum = reinterpret_cast<float*>(task.num_finished + kMaxCounters);
  task.partial_sum = task.partial_maximum + num_partials(task);
  task.log_sums = task.partial_sum + num_partials(task);
  if (arguments.head_dim == 64)
    launch_all<64>(task, stream);
  else
    launch_all<128>(task, stream);
}

}  // namespace reprefill::kernels
