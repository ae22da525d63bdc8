// attention_block.cuh's work on Hopper: a warpgroup fetches keys, page by page, into a ring of tiles, one fetches
// values, and two multiply them with 64 rows each. A tile's logits are multiplied while the last tile's probabilities
// meet their values, and exponentials while that product runs (Shah et al. 2024, "FlashAttention-3", section 3.2).
#pragma once

#include "kernels/base/hopper.cuh"
#include "kernels/base/tiles.cuh"
#include "kernels/chunk_attention/attention_block.cuh"

namespace reprefill::kernels::attention {

/// Keys are numbered through: slots of the prefix, then own tokens.
template <int kHeadDim, bool kMasked>
class HopperAttentionBlock {
 public:
  static constexpr int kConsumers = 2;
  static constexpr int kThreads = (kConsumers + 2) * device::hopper::kWarpgroupThreads;
  static constexpr int kRows = kConsumers * device::hopper::kWarpgroupRows;
  static constexpr int kTileKeys = 128;
  static constexpr int kStages = 2;
  static constexpr int kNTiles = kTileKeys / 8;
  static constexpr int kDimTiles = kHeadDim / 8;
  static constexpr int kSteps = kTileKeys / 16;
  using Queries = device::hopper::ProductTile<kRows, kHeadDim>;
  using Tile = device::hopper::ProductTile<kTileKeys, kHeadDim>;
  using Barrier = device::hopper::Barrier;
  using Place = device::hopper::RingPlace<kStages>;
  static constexpr std::size_t kTilesBytes = Queries::kBytes + 2 * kStages * Tile::kBytes;
  static constexpr std::size_t kNumBarriers = 1 + 4 * kStages;
  static constexpr std::size_t kSharedBytes =
      kTilesBytes + kNumBarriers * sizeof(std::uint64_t) + (kMasked ? kStages * kTileKeys : 0);

  __device__ __forceinline__ explicit HopperAttentionBlock(const AttentionTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        first_row_(blockIdx.x * static_cast<std::uint32_t>(kRows)),
        kv_head_(static_cast<int>(blockIdx.y)),
        split_(static_cast<int>(blockIdx.z)),
        num_consumers_(task.num_rows - first_row_ > device::hopper::kWarpgroupRows ? kConsumers : 1) {
    const std::uint32_t last_row = first_row_ + kRows < task.num_rows ? first_row_ + kRows : task.num_rows;
    const std::uint32_t num_own = task.arguments.first_query + task.group.quotient(last_row - 1) + 1;
    const std::uint32_t num_keys = slots_.num_slots + num_own;
    const auto num_splits = static_cast<std::uint32_t>(task_.num_splits);
    constexpr std::uint32_t kGranule = 16;  // of the places where keys are split
    const std::uint32_t per_split = (num_keys + num_splits * kGranule - 1) / (num_splits * kGranule) * kGranule;
    begin_ = static_cast<std::uint32_t>(split_) * per_split;
    if (begin_ > num_keys) begin_ = num_keys;
    end_ = begin_ + per_split < num_keys ? begin_ + per_split : num_keys;
    num_tiles_ = static_cast<int>((end_ - begin_ + kTileKeys - 1) / kTileKeys);
  }

  __device__ __forceinline__ void run() {
    const int warpgroup = device::hopper::warpgroup_idx();
    if (threadIdx.x == 0) {
      queries_full().init(device::hopper::kWarpgroupThreads);
      for (int stage = 0; stage < kStages; ++stage) {
        keys_full(stage).init(device::hopper::kWarpgroupThreads * (kMasked ? 2 : 1));
        values_full(stage).init(device::hopper::kWarpgroupThreads);
        keys_free(stage).init(device::hopper::num_releases(num_consumers_, kMasked));
        values_free(stage).init(device::hopper::num_releases(num_consumers_));
      }
    }
    __syncthreads();
    if (warpgroup >= kConsumers) {
      device::hopper::give_registers<40>();
      if (warpgroup == kConsumers)
        fetch_keys();
      else
        fetch_values();
    } else {
      device::hopper::take_registers<216>();
      if (warpgroup < num_consumers_) consume(warpgroup);
    }
  }

 private:
  enum NamedBarrier { kTurns = 1, kFirstStore = 3, kSecondStore };

  // Shared memory: queries, then keys and values of each stage, barriers, which logits are kept.
  __device__ __forceinline__ std::byte* keys(int stage) const {
    return shared_ + Queries::kBytes + 2 * static_cast<std::size_t>(stage) * Tile::kBytes;
  }
  __device__ __forceinline__ std::byte* values(int stage) const { return keys(stage) + Tile::kBytes; }
  __device__ __forceinline__ Barrier barrier(int idx) const {
    return Barrier(reinterpret_cast<std::uint64_t*>(shared_ + kTilesBytes) + idx);
  }
  __device__ __forceinline__ Barrier queries_full() const { return barrier(0); }
  __device__ __forceinline__ Barrier keys_full(int stage) const { return barrier(1 + stage); }
  __device__ __forceinline__ Barrier values_full(int stage) const { return barrier(1 + kStages + stage); }
  __device__ __forceinline__ Barrier keys_free(int stage) const { return barrier(1 + 2 * kStages + stage); }
  __device__ __forceinline__ Barrier values_free(int stage) const { return barrier(1 + 3 * kStages + stage); }
  __device__ __forceinline__ std::uint8_t* kept(int stage) const {
    return reinterpret_cast<std::uint8_t*>(shared_ + kTilesBytes + kNumBarriers * sizeof(std::uint64_t)) +
           stage * kTileKeys;
  }

  // ---- the warpgroups that fetch: each thread knows where one row of a tile is ----

  __device__ __forceinline__ static int thread_in_warpgroup() {
    return static_cast<int>(threadIdx.x) % device::hopper::kWarpgroupThreads;
  }
  __device__ __forceinline__ static int first_warp_row() {
    return thread_in_warpgroup() / device::kWarpLanes * device::kWarpLanes;
  }
  __device__ __forceinline__ bool keeps(const std::uint8_t* mask, std::uint32_t slot) const {
    return mask == nullptr ||
           __ldg(mask + std::uint64_t{static_cast<std::uint32_t>(kv_head_)} * task_.arguments.prefix.mask_stride +
                 slot) != 0;
  }
  __device__ __forceinline__ bool has_logit(std::uint32_t slot, const device::SlotMap::Place& place) const {
    if constexpr (!kMasked) return true;
    return slots_.holds(slot, place) && keeps(task_.arguments.prefix.keep_k, slot);
  }

  /// Of the key that this thread fetches for a tile, or of its value: its number, and where it is in its page.
  struct Wanted {
    std::uint32_t key;
    device::SlotMap::Place place;
    bool is_stored, is_absent;
  };
  __device__ __forceinline__ Wanted wanted(int tile) const {
    const std::uint32_t key = begin_ + static_cast<std::uint32_t>(tile * kTileKeys + thread_in_warpgroup());
    Wanted wanted{key, slots_.place(key), key < slots_.num_slots, key >= end_};
    if (wanted.is_stored && !wanted.is_absent) wanted.is_absent = !has_logit(key, wanted.place);
    return wanted;
  }
  __device__ __forceinline__ const BFloat16* find(const Wanted& wanted, const BFloat16* const* pages,
                                                  const BFloat16* own) const {
    if (wanted.is_absent) return device::hopper::absent_row();
    const BFloat16* from = wanted.is_stored ? device::load_pointer(pages + wanted.place.page) : own;
    const std::uint64_t token = wanted.is_stored ? wanted.place.offset : wanted.key - slots_.num_slots;
    return from + token * static_cast<std::uint32_t>(task_.arguments.num_kv_heads * kHeadDim) +
           static_cast<std::uint32_t>(kv_head_ * kHeadDim);
  }

  __device__ __forceinline__ void fetch_keys() const {
    const ChunkAttention& a = task_.arguments;
    const std::uint32_t query_row = first_row_ + static_cast<std::uint32_t>(thread_in_warpgroup());
    const BFloat16* query =
        query_row < task_.num_rows ? a.queries + task_.query_offset(kv_head_, query_row) : device::hopper::absent_row();
    Queries::template load_warp_rows<device::kWarpLanes>(shared_, first_warp_row(), query);
    queries_full().arrive_with_copies();
    Place place;
    Wanted next = wanted(0);
    const BFloat16* row = find(next, a.prefix.key_pages, a.own_keys);
    for (int tile = 0; tile < num_tiles_; ++tile) {
      keys_free(place.stage).wait(place.parity ^ 1);
      if constexpr (kMasked) {
        kept(place.stage)[thread_in_warpgroup()] = next.is_absent ? 0 : 1;
        keys_full(place.stage).arrive();
      }
      Tile::template load_warp_rows<device::kWarpLanes>(keys(place.stage), first_warp_row(), row);
      keys_full(place.stage).arrive_with_copies();
      next = wanted(tile + 1);
      row = find(next, a.prefix.key_pages, a.own_keys);
      place.advance();
    }
    device::hopper::finish_copies();
  }

  __device__ __forceinline__ const BFloat16* find_value(int tile) const {
    const PagedKv& prefix = task_.arguments.prefix;
    Wanted value = wanted(tile);
    if constexpr (kMasked) {
      if (value.is_stored && !value.is_absent) value.is_absent = !keeps(prefix.keep_v, value.key);
    }
    return find(value, prefix.value_pages, task_.arguments.own_values);
  }
  __device__ __forceinline__ void fetch_values() const {
    Place place;
    const BFloat16* row = find_value(0);
    for (int tile = 0; tile < num_tiles_; ++tile) {
      values_free(place.stage).wait(place.parity ^ 1);
      Tile::template load_warp_rows<device::kWarpLanes>(values(place.stage), first_warp_row(), row);
      values_full(place.stage).arrive_with_copies();
      row = find_value(tile + 1);
      place.advance();
    }
    device::hopper::finish_copies();
  }

  // ---- the warpgroups that multiply ----

  __device__ __forceinline__ std::uint32_t row_of(int warpgroup, int half) const {
    return first_row_ + static_cast<std::uint32_t>(device::hopper::row_in_block(warpgroup, half));
  }
  /// One past the last key that a row sees.
  __device__ __forceinline__ std::uint32_t visible(std::uint32_t row) const {
    const std::uint32_t last = slots_.num_slots + task_.arguments.first_query + task_.group.quotient(row) + 1;
    return last < end_ ? last : end_;
  }

  __device__ __forceinline__ void consume(int warpgroup) {
#pragma unroll
    for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out_[n][i] = 0;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      maximum_[half] = -INFINITY;
      sum_[half] = 0;
      visible_[half] = visible(row_of(warpgroup, half));
    }
    if (num_tiles_ > 0) {
      queries_full().wait(0);
      multiply(warpgroup);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) sum_[half] = device::quad_sum(sum_[half]);
    if (task_.num_splits > 1)
      store_partials(warpgroup);
    else
      store_rows(warpgroup);
  }

  __device__ __forceinline__ void multiply(int warpgroup) {
    const device::hopper::Turns<kTurns> turns(warpgroup, num_consumers_ > 1);
    if (num_tiles_ > 1) turns.open();
    float logits[kNTiles][4];
    std::uint32_t probabilities[kSteps][4];
    float rescale[2];
    Place place;
    start_logits(logits, warpgroup, place);
    device::hopper::wait_products<0>();
    device::hopper::pin(logits);
    mask(logits, begin_, place.stage);
    device::hopper::release(keys_free(place.stage), kMasked);
    update_softmax(logits, rescale);
    pack(probabilities, logits);
    for (int tile = 1; tile < num_tiles_; ++tile) {
      Place next = place;
      next.advance();
      turns.await();
      start_logits(logits, warpgroup, next);
      start_values(probabilities, place);
      turns.pass(tile + 1 == num_tiles_);
      device::hopper::wait_products<1>();
      device::hopper::pin(logits);
      mask(logits, begin_ + static_cast<std::uint32_t>(tile * kTileKeys), next.stage);
      device::hopper::release(keys_free(next.stage), kMasked);
      update_softmax(logits, rescale);
      device::hopper::pin(logits);  // exponentials are computed now, while values are multiplied
      device::hopper::wait_products<0>();
      device::hopper::pin(out_);
      device::hopper::release(values_free(place.stage));
      rescale_output(rescale);
      pack(probabilities, logits);
      place = next;
    }
    start_values(probabilities, place);
    device::hopper::wait_products<0>();
    device::hopper::pin(out_);
  }

  __device__ __forceinline__ void start_logits(float (&logits)[kNTiles][4], int warpgroup, const Place& place) const {
    keys_full(place.stage).wait(place.parity);
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
  }

  __device__ __forceinline__ void start_values(const std::uint32_t (&probabilities)[kSteps][4], const Place& place) {
    values_full(place.stage).wait(place.parity);
    device::hopper::fence_shared_for_products();
    const std::uint32_t b = Tile::along_rows(values(place.stage));
    device::hopper::pin(out_);
    device::hopper::begin_products();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      device::hopper::multiply_add_rows(out_, probabilities[step], b + Tile::row_step(step));
    }
    device::hopper::commit_products();
  }

  __device__ __forceinline__ static void pack(std::uint32_t (&probabilities)[kSteps][4],
                                              const float (&values)[kNTiles][4]) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const float(&low)[4] = values[2 * step];
      const float(&high)[4] = values[2 * step + 1];
      probabilities[step][0] = device::pack_bf16(low[0], low[1]);
      probabilities[step][1] = device::pack_bf16(low[2], low[3]);
      probabilities[step][2] = device::pack_bf16(high[0], high[1]);
      probabilities[step][3] = device::pack_bf16(high[2], high[3]);
    }
  }

  __device__ __forceinline__ void mask(float (&logits)[kNTiles][4], std::uint32_t first_key, int stage) const {
    if constexpr (kMasked) device::hopper::mask_dropped(logits, kept(stage));
    device::hopper::mask_unseen(logits, first_key, visible_);
  }

  /// Logits to probabilities, relative to the rows' maximum so far; `rescale` brings earlier outputs to it.
  __device__ __forceinline__ void update_softmax(float (&logits)[kNTiles][4], float (&rescale)[2]) {
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = maximum_[half];
#pragma unroll
      for (int n = 0; n < kNTiles; ++n) {
        highest = fmaxf(highest, fmaxf(logits[n][2 * half], logits[n][2 * half + 1]));
      }
      highest = device::quad_max(highest);
      // All masked so far: any finite reference gives zeros.
      const float reference = highest == -INFINITY ? 0.0f : highest * to_log2;
      rescale[half] = device::exp2_fast(maximum_[half] * to_log2 - reference);
      maximum_[half] = highest;
      float added = 0;
#pragma unroll
      for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          logits[n][i] = device::exp2_fast(fmaf(logits[n][i], to_log2, -reference));
          added += logits[n][i];
        }
      }
      sum_[half] = sum_[half] * rescale[half] + added;
    }
  }

  /// Left out where it would multiply by one throughout the warp: over long prefixes maxima soon stay as they are.
  __device__ __forceinline__ void rescale_output(const float (&rescale)[2]) {
    if (__ballot_sync(device::kAllLanes, rescale[0] != 1.0f || rescale[1] != 1.0f) == 0) return;
#pragma unroll
    for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out_[n][i] *= rescale[i >> 1];
    }
  }

  __device__ __forceinline__ void store_partials(int warpgroup) const {
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t row = row_of(warpgroup, half);
      if (row >= task_.num_rows) continue;
      const std::uint64_t idx = task_.partial_idx(split_, kv_head_, row);
      if ((device::lane_idx() & 3) == 0) {
        task_.partial_maximum[idx] = maximum_[half] * to_log2;
        task_.partial_sum[idx] = sum_[half];
      }
      if (sum_[half] == 0) continue;
      float* out = task_.partial_out + idx * kHeadDim;
#pragma unroll
      for (int n = 0; n < kDimTiles; ++n) {
        struct alignas(8) Pair {
          float values[2];
        };
        *reinterpret_cast<Pair*>(out + device::fragment_column(n, 0)) = {{out_[n][2 * half], out_[n][2 * half + 1]}};
      }
    }
  }

  /// By way of the warpgroup's rows of the queries, once all its warps have read them: whole rows go to memory at a
  /// time.
  __device__ __forceinline__ void store_rows(int warpgroup) const {
    if (warpgroup == 0)
      device::hopper::sync_threads<kFirstStore, device::hopper::kWarpgroupThreads>();
    else
      device::hopper::sync_threads<kSecondStore, device::hopper::kWarpgroupThreads>();
    const int warp_row = static_cast<int>(row_of(warpgroup, 0) - first_row_) - device::lane_idx() / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float inverse = 1.0f / sum_[half];
      const int row = warp_row + half * 8 + device::lane_idx() / 4;
#pragma unroll
      for (int n = 0; n < kDimTiles; ++n) {
        auto* pair = reinterpret_cast<std::uint32_t*>(Queries::chunk(shared_, row, n));
        pair[device::lane_idx() & 3] = device::pack_bf16(out_[n][2 * half] * inverse, out_[n][2 * half + 1] * inverse);
      }
    }
    __syncwarp();
    constexpr int kRowsAtOnce = device::kWarpLanes / Queries::kChunks;
    const int column = device::lane_idx() % Queries::kChunks;
#pragma unroll
    for (int i = device::lane_idx() / Queries::kChunks; i < 16; i += kRowsAtOnce) {
      const std::uint32_t row = first_row_ + static_cast<std::uint32_t>(warp_row + i);
      if (row >= task_.num_rows) continue;
      const auto packed = *reinterpret_cast<const device::Packed8*>(Queries::chunk(shared_, warp_row + i, column));
      *reinterpret_cast<device::Packed8*>(task_.arguments.out + task_.query_offset(kv_head_, row) + column * 8) =
          packed;
    }
  }

  const AttentionTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;
  std::uint32_t first_row_;
  int kv_head_, split_;
  int num_consumers_;          // warpgroups that have rows
  std::uint32_t begin_, end_;  // keys of this block
  int num_tiles_;
  float out_[kDimTiles][4];
  float maximum_[2];  // of raw logits
  float sum_[2];      // of this lane's columns
  std::uint32_t visible_[2];
};

}  // namespace reprefill::kernels::attention
