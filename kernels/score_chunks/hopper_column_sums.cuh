// column_sums.cuh's work on Hopper: one warpgroup fetches tiles of queries, one multiplies 64 stored keys with them.
// Two blocks share a multiprocessor: one multiplies while the other computes exponentials.
#pragma once

#include "kernels/base/hopper.cuh"
#include "kernels/score_chunks/score_task.cuh"

namespace reprefill::kernels::scoring {

template <int kHeadDim>
class HopperColumnSumBlock {
 public:
  static constexpr int kThreads = 2 * device::hopper::kWarpgroupThreads;
  static constexpr int kBlockKeys = device::hopper::kWarpgroupRows;
  static constexpr int kTileQueries = 128;
  static constexpr int kLogitTiles = kTileQueries / 8;
  static constexpr int kStages = 2;
  using Tile = device::hopper::ProductTile<kTileQueries, kHeadDim>;
  using Keys = device::hopper::ProductTile<kBlockKeys, kHeadDim>;
  using Barrier = device::hopper::Barrier;
  using Place = device::hopper::RingPlace<kStages>;
  static constexpr std::size_t kTilesBytes = Keys::kBytes + kStages * Tile::kBytes;
  static constexpr std::size_t kLogSumBytes = kStages * kTileQueries * sizeof(float);
  static constexpr std::size_t kNumBarriers = 1 + 2 * kStages;
  static constexpr std::size_t kSharedBytes = kTilesBytes + kLogSumBytes + kNumBarriers * sizeof(std::uint64_t);

  __device__ __forceinline__ explicit HopperColumnSumBlock(const ScoreTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        num_rows_(task.num_rows()),
        first_slot_(blockIdx.x * static_cast<std::uint32_t>(kBlockKeys)),
        group_(static_cast<int>(blockIdx.y)),
        num_tiles_(static_cast<int>((num_rows_ + kTileQueries - 1) / kTileQueries)) {}

  __device__ __forceinline__ void run() {
    if (first_slot_ >= slots_.num_slots) {
      device::wait_for_previous_kernel();
      return;
    }
    if (threadIdx.x == 0) {
      barrier(0).init(2 * device::kWarpLanes);
      for (int stage = 0; stage < kStages; ++stage) {
        full(stage).init(2 * device::hopper::kWarpgroupThreads);
        free(stage).init(device::kTileWarps);
      }
    }
    __syncthreads();
    if (threadIdx.x >= device::hopper::kWarpgroupThreads)
      produce();
    else
      consume();
  }

 private:
  // Shared memory: keys, the ring's tiles of queries, the log sums of their rows, barriers.
  __device__ __forceinline__ std::byte* queries(int stage) const {
    return shared_ + Keys::kBytes + static_cast<std::size_t>(stage) * Tile::kBytes;
  }
  __device__ __forceinline__ float* log_sums(int stage) const {
    return reinterpret_cast<float*>(shared_ + kTilesBytes) + stage * kTileQueries;
  }
  __device__ __forceinline__ Barrier barrier(int idx) const {
    return Barrier(reinterpret_cast<std::uint64_t*>(shared_ + kTilesBytes + kLogSumBytes) + idx);
  }
  __device__ __forceinline__ Barrier full(int stage) const { return barrier(1 + stage); }
  __device__ __forceinline__ Barrier free(int stage) const { return barrier(1 + kStages + stage); }

  __device__ __forceinline__ const BFloat16* find_key(std::uint32_t slot) const {
    const auto place = slots_.place(slot);
    return slots_.holds(slot, place) ? task_.stored_key(group_, place) : device::hopper::absent_row();
  }

  __device__ __forceinline__ void produce() const {
    const int thread = static_cast<int>(threadIdx.x) % device::hopper::kWarpgroupThreads;
    const int warp_row = thread / device::kWarpLanes * device::kWarpLanes;
    if (thread < kBlockKeys) {
      Keys::template load_warp_rows<device::kWarpLanes>(shared_, warp_row,
                                                        find_key(first_slot_ + static_cast<std::uint32_t>(thread)));
      barrier(0).arrive_with_copies();
    }
    Place place;
    for (int tile = 0; tile < num_tiles_; ++tile) {
      free(place.stage).wait(place.parity ^ 1);
      const std::uint32_t row = static_cast<std::uint32_t>(tile * kTileQueries + thread);
      const bool has_row = row < num_rows_;
      Tile::template load_warp_rows<device::kWarpLanes>(
          queries(place.stage), warp_row, has_row ? task_.query(group_, row) : device::hopper::absent_row());
      full(place.stage).arrive_with_copies();
      if (tile == 0) device::wait_for_previous_kernel();  // the first pass: log sums
      log_sums(place.stage)[thread] =
          has_row ? task_.log_sums[static_cast<std::uint64_t>(group_) * task_.max_rows + row] : INFINITY;
      full(place.stage).arrive();
      place.advance();
    }
    device::hopper::finish_copies();
  }

  __device__ __forceinline__ void consume() {
    const float to_log2 = task_.arguments.scale * kLog2E;
    float sums[2] = {0, 0};
    Place place;
    if (num_tiles_ > 0) barrier(0).wait(0);
    for (int tile = 0; tile < num_tiles_; ++tile) {
      float logits[kLogitTiles][4];
      full(place.stage).wait(place.parity);
      device::hopper::fence_shared_for_products();
      const std::uint32_t a = Keys::along_columns(shared_, 0), b = Tile::along_columns(queries(place.stage), 0);
      device::hopper::pin(logits);
      device::hopper::begin_products();
#pragma unroll
      for (int step = 0; step < kHeadDim / 16; ++step) {
        device::hopper::multiply_add(logits, a + Keys::column_step(step), b + Tile::column_step(step), step > 0);
      }
      device::hopper::commit_products();
      device::hopper::wait_products<0>();
      device::hopper::pin(logits);
#pragma unroll
      for (int n = 0; n < kLogitTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float log_sum = log_sums(place.stage)[device::fragment_column(n, i)];
          sums[0] += device::exp2_fast(fmaf(logits[n][i], to_log2, -log_sum));
          sums[1] += device::exp2_fast(fmaf(logits[n][i + 2], to_log2, -log_sum));
        }
      }
      device::hopper::release(free(place.stage));
      place.advance();
    }
    device::wait_for_previous_kernel();  // so that what comes after this kernel comes after the first pass
    store(sums);
  }

  __device__ __forceinline__ void store(const float (&sums)[2]) const {
    const ScoreChunks& arguments = task_.arguments;
    float* scores = arguments.token_scores + static_cast<std::uint64_t>(group_) * arguments.token_stride;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = device::quad_sum(sums[half]);
      const int row = device::warp_idx() * 16 + half * 8 + device::lane_idx() / 4;
      const std::uint32_t slot = first_slot_ + static_cast<std::uint32_t>(row);
      if ((device::lane_idx() & 3) != 0 || slot >= slots_.num_slots) continue;
      const float before = arguments.accumulate ? scores[slot] : 0.0f;
      scores[slot] = slots_.holds(slot, slots_.place(slot)) ? before + sum : 0.0f;
    }
  }

  const ScoreTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;
  std::uint32_t num_rows_, first_slot_;
  int group_, num_tiles_;
};

}  // namespace reprefill::kernels::scoring
