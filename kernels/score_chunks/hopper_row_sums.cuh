// row_sums.cuh's work on Hopper: two warpgroups fetch keys into a ring of tiles, half of each, two multiply them with
// 64 rows of queries each, in turns.
#pragma once

#include "kernels/base/hopper.cuh"
#include "kernels/score_chunks/row_sum_parts.cuh"

namespace reprefill::kernels::scoring {

/// Keys are numbered through: slots of the prefix, then own tokens.
template <int kHeadDim>
class HopperRowSumBlock {
 public:
  static constexpr int kConsumers = 2;
  static constexpr int kFetching = 2 * device::hopper::kWarpgroupThreads;
  static constexpr int kThreads = kConsumers * device::hopper::kWarpgroupThreads + kFetching;
  static constexpr int kTileKeys = 128;
  static constexpr int kLogitTiles = kTileKeys / 8;
  static constexpr int kStages = 4;
  using Tile = device::hopper::ProductTile<kTileKeys, kHeadDim>;
  using Queries = device::hopper::ProductTile<kBlockRows, kHeadDim>;
  using Barrier = device::hopper::Barrier;
  using Place = device::hopper::RingPlace<kStages>;
  using Logits = float[kLogitTiles][4];
  static constexpr std::size_t kTilesBytes = Queries::kBytes + kStages * Tile::kBytes;
  static constexpr std::size_t kNumBarriers = 1 + 2 * kStages;
  static constexpr std::size_t kSharedBytes =
      kTilesBytes + kNumBarriers * sizeof(std::uint64_t) + kStages * std::size_t{kTileKeys};
  static_assert(kBlockRows == kConsumers * device::hopper::kWarpgroupRows);

  __device__ __forceinline__ explicit HopperRowSumBlock(const ScoreTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        num_rows_(task.num_rows()),
        first_row_(blockIdx.x * static_cast<std::uint32_t>(kBlockRows)),
        group_(static_cast<int>(blockIdx.y)),
        split_(static_cast<int>(blockIdx.z)) {
    const std::uint32_t last_row = first_row_ + kBlockRows < num_rows_ ? first_row_ + kBlockRows : num_rows_;
    const std::uint32_t num_keys = last_row > first_row_ ? visible(last_row - 1) : 0;
    const auto num_splits = static_cast<std::uint32_t>(task.num_splits);
    const std::uint32_t tiles = (num_keys + kTileKeys - 1) / kTileKeys;
    begin_ = tiles * static_cast<std::uint32_t>(split_) / num_splits * kTileKeys;
    end_ = tiles * (static_cast<std::uint32_t>(split_) + 1) / num_splits * kTileKeys;
    if (end_ > num_keys) end_ = num_keys;
    // In pairs: the last may have no keys.
    num_tiles_ = begin_ < end_ ? static_cast<int>((end_ - begin_ + 2 * kTileKeys - 1) / (2 * kTileKeys)) * 2 : 0;
  }

  __device__ __forceinline__ void run() {
    const int warpgroup = device::hopper::warpgroup_idx();
    if (threadIdx.x == 0) {
      barrier(0).init(kFetching);
      for (int stage = 0; stage < kStages; ++stage) {
        full(stage).init(2 * kFetching);
        free(stage).init(device::hopper::num_releases(kConsumers, is_ragged()));
      }
    }
    __syncthreads();
    if (warpgroup >= kConsumers) {
      device::hopper::give_registers<40>();
      produce();
    } else {
      device::hopper::take_registers<216>();
      consume(warpgroup);
      const RowSumParts parts(task_, group_, split_, first_row_);  // which the second pass merges
#pragma unroll
      for (int half = 0; half < 2; ++half) parts.store(row_of(warpgroup, half), maximum_[half], sum_[half]);
    }
  }

 private:
  // Shared memory: queries, the ring's tiles of keys, barriers, which keys of each tile are tokens.
  __device__ __forceinline__ std::byte* keys(int stage) const {
    return shared_ + Queries::kBytes + static_cast<std::size_t>(stage) * Tile::kBytes;
  }
  __device__ __forceinline__ Barrier barrier(int idx) const {
    return Barrier(reinterpret_cast<std::uint64_t*>(shared_ + kTilesBytes) + idx);
  }
  __device__ __forceinline__ Barrier full(int stage) const { return barrier(1 + stage); }
  __device__ __forceinline__ Barrier free(int stage) const { return barrier(1 + kStages + stage); }
  __device__ __forceinline__ std::uint8_t* held(int stage) const {
    return reinterpret_cast<std::uint8_t*>(shared_ + kTilesBytes + kNumBarriers * sizeof(std::uint64_t)) +
           stage * kTileKeys;
  }

  __device__ __forceinline__ bool is_ragged() const { return slots_.tokens_per_page != nullptr; }

  __device__ __forceinline__ const BFloat16* find_key(std::uint32_t key) const {
    if (key >= end_) return device::hopper::absent_row();
    if (key >= slots_.num_slots) return task_.own_key(group_, key - slots_.num_slots);
    const auto place = slots_.place(key);
    return slots_.holds(key, place) ? task_.stored_key(group_, place) : device::hopper::absent_row();
  }

  __device__ __forceinline__ void produce() const {
    constexpr int kRowsOfWarp = kTileKeys / (kFetching / device::kWarpLanes);
    const int warp =
        (static_cast<int>(threadIdx.x) - kConsumers * device::hopper::kWarpgroupThreads) / device::kWarpLanes;
    const int first = warp * kRowsOfWarp, mine = first + device::lane_idx() % kRowsOfWarp;
    const std::uint32_t query_row = first_row_ + static_cast<std::uint32_t>(mine);
    Queries::template load_warp_rows<kRowsOfWarp>(
        shared_, first, query_row < num_rows_ ? task_.query(group_, query_row) : device::hopper::absent_row());
    barrier(0).arrive_with_copies();
    Place place;
    const BFloat16* key = find_key(begin_ + static_cast<std::uint32_t>(mine));
    for (int tile = 0; tile < num_tiles_; ++tile) {
      free(place.stage).wait(place.parity ^ 1);
      held(place.stage)[mine] = key != device::hopper::absent_row() ? 1 : 0;
      full(place.stage).arrive();
      Tile::template load_warp_rows<kRowsOfWarp>(keys(place.stage), first, key);
      full(place.stage).arrive_with_copies();
      key = find_key(begin_ + static_cast<std::uint32_t>((tile + 1) * kTileKeys + mine));
      place.advance();
    }
    device::hopper::finish_copies();
  }

  __device__ __forceinline__ std::uint32_t row_of(int warpgroup, int half) const {
    return first_row_ + static_cast<std::uint32_t>(device::hopper::row_in_block(warpgroup, half));
  }
  /// One past the last key that a row sees.
  __device__ __forceinline__ std::uint32_t visible(std::uint32_t row) const {
    return slots_.num_slots + task_.arguments.first_query + task_.heads.quotient(row) + 1;
  }

  __device__ __forceinline__ void consume(int warpgroup) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t last = visible(row_of(warpgroup, half));
      visible_[half] = last < end_ ? last : end_;
    }
    if (num_tiles_ == 0) return;
    barrier(0).wait(0);
    Logits even, odd;
    Place started, added;
    for (int tile = 0; tile < num_tiles_; tile += 2) {
      start(even, warpgroup, started);
      start(odd, warpgroup, started);
      device::hopper::wait_products<1>();
      add(even, tile, added);
      device::hopper::wait_products<0>();
      add(odd, tile + 1, added);
    }
  }

  __device__ __forceinline__ void start(Logits& logits, int warpgroup, Place& place) const {
    full(place.stage).wait(place.parity);
    device::hopper::fence_shared_for_products();
    const std::uint32_t a = Queries::along_columns(shared_, warpgroup * device::hopper::kWarpgroupRows);
    const std::uint32_t b = Tile::along_columns(keys(place.stage), 0);
    device::hopper::pin(logits);
    device::hopper::begin_products();
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      device::hopper::multiply_add(logits, a + Queries::column_step(step), b + Tile::column_step(step), step > 0);
    }
    device::hopper::commit_products();
    place.advance();
  }

  /// A tile that was multiplied.
  __device__ __forceinline__ void add(Logits& logits, int tile, Place& place) {
    device::hopper::pin(logits);
    mask(logits, begin_ + static_cast<std::uint32_t>(tile * kTileKeys), place.stage);
    device::hopper::release(free(place.stage), is_ragged());
    place.advance();
    add_exponentials(logits);
  }

  __device__ __forceinline__ void mask(Logits& logits, std::uint32_t first_key, int stage) const {
    if (is_ragged()) device::hopper::mask_dropped(logits, held(stage));
    device::hopper::mask_unseen(logits, first_key, visible_);
  }

  __device__ __forceinline__ void add_exponentials(const Logits& logits) {
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = maximum_[half];
#pragma unroll
      for (int n = 0; n < kLogitTiles; ++n) {
        highest = fmaxf(highest, fmaxf(logits[n][2 * half], logits[n][2 * half + 1]));
      }
      highest = device::quad_max(highest);
      const float reference = highest == -INFINITY ? 0.0f : highest * to_log2;
      float added = 0;
#pragma unroll
      for (int n = 0; n < kLogitTiles; ++n) {
        added += device::exp2_fast(fmaf(logits[n][2 * half], to_log2, -reference));
        added += device::exp2_fast(fmaf(logits[n][2 * half + 1], to_log2, -reference));
      }
      sum_[half] = sum_[half] * device::exp2_fast(maximum_[half] * to_log2 - reference) + added;
      maximum_[half] = highest;
    }
  }

  const ScoreTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;
  std::uint32_t num_rows_, first_row_;
  int group_, split_;
  std::uint32_t begin_, end_;  // keys of this block
  int num_tiles_;
  std::uint32_t visible_[2];
  float maximum_[2] = {-INFINITY, -INFINITY};
  float sum_[2] = {0, 0};  // of this lane's columns
};

}  // namespace reprefill::kernels::scoring
