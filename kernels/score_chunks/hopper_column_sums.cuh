// column_sums.cuh's work on Hopper: queries stay in shared memory while a block's keys pass. A warpgroup fetches them,
// 64 at a time, two multiply them with all rows of queries; exponentials are computed while the next rows are
// multiplied.
#pragma once

#include "kernels/base/hopper.cuh"
#include "kernels/score_chunks/score_task.cuh"

namespace reprefill::kernels::scoring {

/// kRowTiles * 128 rows of queries at once; where there are more, the keys pass again.
template <int kHeadDim, int kRowTiles>
class HopperColumnSumBlock {
 public:
  static constexpr int kConsumers = 2;
  static constexpr int kThreads = (kConsumers + 1) * device::hopper::kWarpgroupThreads;
  static constexpr int kTileKeys = device::hopper::kWarpgroupRows;
  static constexpr int kTileQueries = 128;
  static constexpr int kRows = kRowTiles * kTileQueries;
  static constexpr int kLogitTiles = kTileQueries / 8;
  static constexpr int kStages = 4;
  using Queries = device::hopper::ProductTile<kTileQueries, kHeadDim>;
  using Keys = device::hopper::ProductTile<kTileKeys, kHeadDim>;
  using Barrier = device::hopper::Barrier;
  using Place = device::hopper::RingPlace<kStages>;
  using Logits = float[kLogitTiles][4];
  static constexpr std::size_t kTilesBytes = kRowTiles * Queries::kBytes + kStages * Keys::kBytes;
  static constexpr std::size_t kLogSumBytes = kRows * sizeof(float);
  static constexpr std::size_t kNumBarriers = 2 * kStages;
  static constexpr std::size_t kSharedBytes = kTilesBytes + kLogSumBytes + kNumBarriers * sizeof(std::uint64_t);

  __device__ __forceinline__ explicit HopperColumnSumBlock(const ScoreTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        num_rows_(task.num_rows()),
        group_(static_cast<int>(blockIdx.y)),
        num_passes_(num_rows_ == 0 ? 1 : (num_rows_ + kRows - 1) / kRows) {
    const std::uint32_t tiles = (slots_.num_slots + kTileKeys - 1) / kTileKeys;
    begin_tile_ = tiles * blockIdx.x / gridDim.x;
    end_tile_ = tiles * (blockIdx.x + 1) / gridDim.x;
  }

  __device__ __forceinline__ void run() {
    const int warpgroup = device::hopper::warpgroup_idx();
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < kStages; ++stage) {
        full(stage).init(device::hopper::kWarpgroupThreads);
        free(stage).init(device::hopper::num_releases(1));
      }
    }
    __syncthreads();
    if (warpgroup == kConsumers)
      fetch();
    else
      consume(warpgroup);
  }

 private:
  // Shared memory: queries, the ring's tiles of keys, the log sums of the queries' rows, barriers.
  __device__ __forceinline__ std::byte* queries(int tile) const {
    return shared_ + static_cast<std::size_t>(tile) * Queries::kBytes;
  }
  __device__ __forceinline__ std::byte* keys(int stage) const {
    return shared_ + kRowTiles * Queries::kBytes + static_cast<std::size_t>(stage) * Keys::kBytes;
  }
  __device__ __forceinline__ float* log_sums() const { return reinterpret_cast<float*>(shared_ + kTilesBytes); }
  __device__ __forceinline__ Barrier barrier(int idx) const {
    return Barrier(reinterpret_cast<std::uint64_t*>(shared_ + kTilesBytes + kLogSumBytes) + idx);
  }
  __device__ __forceinline__ Barrier full(int stage) const { return barrier(stage); }
  __device__ __forceinline__ Barrier free(int stage) const { return barrier(kStages + stage); }

  // ---- the warpgroup that fetches ----

  __device__ __forceinline__ const BFloat16* find_key(std::uint32_t slot) const {
    if (slot >= slots_.num_slots) return device::hopper::absent_row();
    const auto place = slots_.place(slot);
    return slots_.holds(slot, place) ? task_.stored_key(group_, place) : device::hopper::absent_row();
  }

  __device__ __forceinline__ void fetch() const {
    constexpr int kRowsOfWarp = kTileKeys / device::kTileWarps;
    const int warp = device::warp_idx() % device::kTileWarps, first = warp * kRowsOfWarp;
    const std::uint32_t mine = static_cast<std::uint32_t>(first + device::lane_idx() % kRowsOfWarp);
    Place place;
    for (std::uint32_t pass = 0; pass < num_passes_; ++pass) {
      const BFloat16* key = find_key(begin_tile_ * kTileKeys + mine);
      for (std::uint32_t tile = begin_tile_; tile < end_tile_; ++tile) {
        free(place.stage).wait(place.parity ^ 1);
        Keys::template load_warp_rows<kRowsOfWarp>(keys(place.stage), first, key);
        full(place.stage).arrive_with_copies();
        key = find_key((tile + 1) * kTileKeys + mine);
        place.advance();
      }
    }
    device::hopper::finish_copies();
  }

  // ---- the warpgroups that multiply: every other tile each ----

  static constexpr int kConsumerThreads = kConsumers * device::hopper::kWarpgroupThreads;
  __device__ __forceinline__ static void sync_consumers() { device::hopper::sync_threads<1, kConsumerThreads>(); }

  __device__ __forceinline__ void consume(int warpgroup) const {
    Place place;
    for (std::uint32_t pass = 0; pass < num_passes_; ++pass) {
      if (pass > 0) sync_consumers();  // all are done with the last rows
      load_queries(pass * kRows);
      device::commit_copies();
      device::wait_for_previous_kernel();  // the first pass
      merge_log_sums(pass * kRows);
      device::wait_copies<0>();
      device::hopper::fence_shared_for_products();
      sync_consumers();
      for (std::uint32_t tile = begin_tile_; tile < end_tile_; ++tile) {
        if (((tile - begin_tile_) & 1) == static_cast<std::uint32_t>(warpgroup)) {
          float sums[2] = {0, 0};
          add_tile(sums, place);
          store(sums, tile, pass > 0 || task_.arguments.accumulate);
        }
        place.advance();
      }
    }
  }

  __device__ __forceinline__ void load_queries(std::uint32_t first_row) const {
    constexpr int kWarps = kConsumers * device::kTileWarps;
#pragma unroll 1
    for (int row = device::warp_idx() * device::kWarpLanes; row < kRows; row += kWarps * device::kWarpLanes) {
      const std::uint32_t mine = first_row + static_cast<std::uint32_t>(row + device::lane_idx());
      Queries::template load_warp_rows<device::kWarpLanes>(
          queries(row / kTileQueries), row % kTileQueries,
          mine < num_rows_ ? task_.query(group_, mine) : device::hopper::absent_row());
    }
  }

  __device__ __forceinline__ void merge_log_sums(std::uint32_t first_row) const {
    for (int i = static_cast<int>(threadIdx.x); i < kRows; i += kConsumerThreads) {
      const std::uint32_t row = first_row + static_cast<std::uint32_t>(i);
      log_sums()[i] = row < num_rows_ ? task_.merged_log_sum(group_, row) : INFINITY;
    }
  }

  __device__ __forceinline__ void add_tile(float (&sums)[2], const Place& place) const {
    Logits logits[2];
    full(place.stage).wait(place.parity);
    device::hopper::fence_shared_for_products();
    const std::uint32_t a = Keys::along_columns(keys(place.stage), 0);
    start(logits[0], a, 0);
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      if (tile + 1 < kRowTiles) {
        start(logits[(tile + 1) % 2], a, tile + 1);
        device::hopper::wait_products<1>();
      } else {
        device::hopper::wait_products<0>();
        device::hopper::release(free(place.stage));
      }
      device::hopper::pin(logits[tile % 2]);
      add_exponentials(sums, logits[tile % 2], log_sums() + tile * kTileQueries);
    }
  }

  __device__ __forceinline__ void start(Logits& logits, std::uint32_t a, int tile) const {
    const std::uint32_t b = Queries::along_columns(queries(tile), 0);
    device::hopper::pin(logits);
    device::hopper::begin_products();
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      device::hopper::multiply_add(logits, a + Keys::column_step(step), b + Queries::column_step(step), step > 0);
    }
    device::hopper::commit_products();
  }

  __device__ __forceinline__ void add_exponentials(float (&sums)[2], const Logits& logits,
                                                   const float* log_sums) const {
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int n = 0; n < kLogitTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float log_sum = log_sums[device::fragment_column(n, i)];
        sums[0] += device::exp2_fast(fmaf(logits[n][i], to_log2, -log_sum));
        sums[1] += device::exp2_fast(fmaf(logits[n][i + 2], to_log2, -log_sum));
      }
    }
  }

  __device__ __forceinline__ void store(const float (&sums)[2], std::uint32_t tile, bool adds) const {
    const ScoreChunks& arguments = task_.arguments;
    float* scores = arguments.token_scores + static_cast<std::uint64_t>(group_) * arguments.token_stride;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = device::quad_sum(sums[half]);
      const int row = device::warp_idx() % device::kTileWarps * 16 + half * 8 + device::lane_idx() / 4;
      const std::uint32_t slot = tile * kTileKeys + static_cast<std::uint32_t>(row);
      if ((device::lane_idx() & 3) != 0 || slot >= slots_.num_slots) continue;
      const float before = adds ? scores[slot] : 0.0f;
      scores[slot] = slots_.holds(slot, slots_.place(slot)) ? before + sum : 0.0f;
    }
  }

  const ScoreTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;
  std::uint32_t num_rows_;
  int group_;
  std::uint32_t num_passes_;  // over the keys, each with other rows of queries
  std::uint32_t begin_tile_, end_tile_;
};

}  // namespace reprefill::kernels::scoring
