// One block of attention: some rows (queries times the query heads of one KV head, so that a tile of keys is loaded
// once for the whole group) over a range of tiles of keys. FlashAttention-2's loop on mma.sync, from sm_80 on.
#pragma once

#include "kernels/base/tiles.cuh"
#include "kernels/chunk_attention/chunk_attention.hpp"

namespace reprefill::kernels::attention {

inline constexpr float kLog2E = 1.4426950408889634f;

/// What a launch passes to its blocks.
struct AttentionTask {
  ChunkAttention arguments;
  device::FastDivide pages;  // slots to pages
  device::FastDivide group;  // rows to queries: row = query * query heads of a KV head + head within them
  std::uint32_t num_rows = 0;
  int num_splits = 1;
  // Of each (split, KV head, row), where there are several splits:
  float* partial_out = nullptr;      // [head_dim], not yet divided by the sum; not written where the sum is 0
  float* partial_maximum = nullptr;  // in units of log2
  float* partial_sum = nullptr;

  __device__ __forceinline__ std::uint64_t partial_idx(int split, int kv_head, std::uint32_t row) const {
    return (static_cast<std::uint64_t>(split) * static_cast<std::uint64_t>(arguments.num_kv_heads) +
            static_cast<std::uint64_t>(kv_head)) *
               num_rows +
           row;
  }
  /// Of a row's query head in `queries` and `out`.
  __device__ __forceinline__ std::uint64_t query_offset(int kv_head, std::uint32_t row) const {
    const std::uint32_t query = group.quotient(row);
    const std::uint32_t head = static_cast<std::uint32_t>(kv_head) * group.divisor + (row - query * group.divisor);
    return (std::uint64_t{query} * static_cast<std::uint32_t>(arguments.num_query_heads) + head) *
           static_cast<std::uint32_t>(arguments.head_dim);
  }
};

template <int kHeadDim, int kRowsPerWarp, bool kMasked>
class AttentionBlock {
 public:
  using Rows = device::Tile<kHeadDim>;
  static constexpr int kMTiles = kRowsPerWarp / 16;
  static constexpr int kNTiles = device::kTileRows / 8;
  static constexpr int kDimTiles = kHeadDim / 8;
  static constexpr int kRows = device::kTileWarps * kRowsPerWarp;
  static constexpr int kTileKeys = device::kTileRows;
  static constexpr int kStages = 2;
  static constexpr int kThreads = device::kTileThreads;
  static constexpr std::size_t kQueryBytes = static_cast<std::size_t>(kRows) * Rows::kRowBytes;
  static constexpr std::size_t kTileBytes = static_cast<std::size_t>(kTileKeys) * Rows::kRowBytes;
  static constexpr std::size_t kSharedBytes =
      kQueryBytes + 2 * kStages * kTileBytes + (kMasked ? kStages * kTileKeys : 0);

  __device__ __forceinline__ explicit AttentionBlock(const AttentionTask& task)
      : task_(task),
        slots_(task.arguments.prefix.tokens, task.pages),
        shared_(device::dynamic_shared()),
        first_row_(blockIdx.x * static_cast<std::uint32_t>(kRows)),
        kv_head_(static_cast<int>(blockIdx.y)),
        split_(static_cast<int>(blockIdx.z)) {
    const std::uint32_t last_row = first_row_ + kRows < task.num_rows ? first_row_ + kRows : task.num_rows;
    num_own_ = task.arguments.first_query + task.group.quotient(last_row - 1) + 1;
    num_prefix_tiles_ = (slots_.num_slots + kTileKeys - 1) / kTileKeys;
    clear();
  }

  __device__ __forceinline__ void run() {
    const std::uint32_t num_tiles = num_prefix_tiles_ + (num_own_ + kTileKeys - 1) / kTileKeys;
    const auto num_splits = static_cast<std::uint32_t>(task_.num_splits);
    const std::uint32_t per_split = (num_tiles + num_splits - 1) / num_splits;
    const std::uint32_t begin = static_cast<std::uint32_t>(split_) * per_split;
    const std::uint32_t end = begin + per_split < num_tiles ? begin + per_split : num_tiles;
    if (begin < end) {
      load_queries();
      load_tile(begin, 0);
      device::commit_copies();
      for (std::uint32_t tile = begin; tile < end; ++tile) {
        const int stage = static_cast<int>((tile - begin) % kStages);
        device::wait_copies<0>();
        __syncthreads();  // this tile is there for all, and all are done with the last one, whose place is free
        if (tile + 1 < end) load_tile(tile + 1, stage ^ 1);
        device::commit_copies();
        if (warp_first_row() < task_.num_rows) attend_to_tile(tile, stage);
      }
    }
    finish();
  }

 private:
  __device__ __forceinline__ std::uint32_t warp_first_row() const {
    return first_row_ + static_cast<std::uint32_t>(device::warp_idx() * kRowsPerWarp);
  }
  __device__ __forceinline__ std::byte* keys(int stage) const {
    return shared_ + kQueryBytes + 2 * static_cast<std::size_t>(stage) * kTileBytes;
  }
  __device__ __forceinline__ std::byte* values(int stage) const { return keys(stage) + kTileBytes; }
  __device__ __forceinline__ std::uint8_t* kept(int stage) const {
    return reinterpret_cast<std::uint8_t*>(shared_ + kQueryBytes + 2 * kStages * kTileBytes) + stage * kTileKeys;
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out_[m][n][i] = 0;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) maximum_[m][half] = -INFINITY, sum_[m][half] = 0;
    }
  }

  __device__ __forceinline__ void load_queries() {
    Rows::template load_rows<kRows>(shared_, task_.arguments.queries, [&](int row) -> const BFloat16* {
      const std::uint32_t idx = first_row_ + static_cast<std::uint32_t>(row);
      return idx < task_.num_rows ? task_.arguments.queries + task_.query_offset(kv_head_, idx) : nullptr;
    });
  }

  __device__ __forceinline__ void load_tile(std::uint32_t tile, int stage) {
    if (tile < num_prefix_tiles_)
      load_prefix_tile(tile * kTileKeys, stage);
    else
      load_own_tile((tile - num_prefix_tiles_) * kTileKeys, stage);
  }

  __device__ __forceinline__ bool keeps(const std::uint8_t* mask, std::uint32_t slot) const {
    return mask == nullptr ||
           __ldg(mask + std::uint64_t{static_cast<std::uint32_t>(kv_head_)} * task_.arguments.prefix.mask_stride +
                 slot) != 0;
  }
  __device__ __forceinline__ bool has_logit(std::uint32_t slot, const device::SlotMap::Place& place) const {
    if constexpr (!kMasked) return slot < slots_.num_slots;
    return slots_.holds(slot, place) && keeps(task_.arguments.prefix.keep_k, slot);
  }

  /// Rows that take no part are zeros: a zero probability times what happens to be in memory could be NaN.
  __device__ __forceinline__ void load_prefix_tile(std::uint32_t first_slot, int stage) {
    const PagedKv& prefix = task_.arguments.prefix;
    const std::uint64_t token_stride = static_cast<std::uint32_t>(task_.arguments.num_kv_heads * kHeadDim);
    const std::uint64_t head_offset = static_cast<std::uint32_t>(kv_head_ * kHeadDim);
    Rows::template load_rows<kTileKeys>(keys(stage), task_.arguments.queries, [&](int row) -> const BFloat16* {
      const std::uint32_t slot = first_slot + static_cast<std::uint32_t>(row);
      const auto place = slots_.place(slot);
      if (!has_logit(slot, place)) return nullptr;
      return device::load_pointer(prefix.key_pages + place.page) + place.offset * token_stride + head_offset;
    });
    Rows::template load_rows<kTileKeys>(values(stage), task_.arguments.queries, [&](int row) -> const BFloat16* {
      const std::uint32_t slot = first_slot + static_cast<std::uint32_t>(row);
      const auto place = slots_.place(slot);
      if (!has_logit(slot, place)) return nullptr;
      if constexpr (kMasked) {
        if (!keeps(prefix.keep_v, slot)) return nullptr;
      }
      return device::load_pointer(prefix.value_pages + place.page) + place.offset * token_stride + head_offset;
    });
    if constexpr (kMasked) {
      for (int i = static_cast<int>(threadIdx.x); i < kTileKeys; i += device::kTileThreads) {
        const std::uint32_t slot = first_slot + static_cast<std::uint32_t>(i);
        kept(stage)[i] = has_logit(slot, slots_.place(slot)) ? 1 : 0;
      }
    }
  }

  __device__ __forceinline__ void load_own_tile(std::uint32_t first_key, int stage) {
    const std::uint64_t token_stride = static_cast<std::uint32_t>(task_.arguments.num_kv_heads * kHeadDim);
    const std::uint64_t head_offset = static_cast<std::uint32_t>(kv_head_ * kHeadDim);
    const auto row_of = [&](const BFloat16* base, int row) -> const BFloat16* {
      const std::uint32_t key = first_key + static_cast<std::uint32_t>(row);
      return key < num_own_ ? base + key * token_stride + head_offset : nullptr;
    };
    Rows::template load_rows<kTileKeys>(keys(stage), task_.arguments.queries,
                                        [&](int row) { return row_of(task_.arguments.own_keys, row); });
    Rows::template load_rows<kTileKeys>(values(stage), task_.arguments.queries,
                                        [&](int row) { return row_of(task_.arguments.own_values, row); });
  }

  __device__ __forceinline__ void attend_to_tile(std::uint32_t tile, int stage) {
    float logits[kMTiles][kNTiles][4];
    Rows::template multiply<kMTiles>(logits, shared_, device::warp_idx() * kRowsPerWarp, keys(stage));
    mask(logits, tile, stage);
    update_softmax(logits);
    add_values(logits, stage);
  }

  __device__ __forceinline__ void mask(float (&logits)[kMTiles][kNTiles][4], std::uint32_t tile, int stage) const {
    const bool is_prefix = tile < num_prefix_tiles_;
    if (is_prefix) {
      if constexpr (kMasked) {
        mask_dropped(logits, stage);
        return;
      }
    }
    const std::uint32_t first = (is_prefix ? tile : tile - num_prefix_tiles_) * kTileKeys;
    const std::uint32_t least_visible = is_prefix ? slots_.num_slots : visible_own(warp_first_row());
    if (first + kTileKeys <= least_visible) return;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t row = warp_first_row() + static_cast<std::uint32_t>(device::fragment_row(m, half * 2));
        const std::uint32_t visible = is_prefix ? slots_.num_slots : visible_own(row);
#pragma unroll
        for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            const std::uint32_t key = first + static_cast<std::uint32_t>(device::fragment_column(n, i));
            if (key >= visible) logits[m][n][i] = -INFINITY;
          }
        }
      }
    }
  }
  /// Own keys that a row sees; no later row sees fewer.
  __device__ __forceinline__ std::uint32_t visible_own(std::uint32_t row) const {
    return task_.arguments.first_query + task_.group.quotient(row) + 1;
  }
  __device__ __forceinline__ void mask_dropped(float (&logits)[kMTiles][kNTiles][4], int stage) const {
#pragma unroll
    for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (kept(stage)[device::fragment_column(n, i)] != 0) continue;
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) logits[m][n][i] = logits[m][n][i + 2] = -INFINITY;
      }
    }
  }

  /// Logits to probabilities, relative to the rows' maximum so far, which earlier sums and outputs are brought to.
  __device__ __forceinline__ void update_softmax(float (&logits)[kMTiles][kNTiles][4]) {
    const float to_log2 = task_.arguments.scale * kLog2E;
    float rescale[kMTiles][2];
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float highest = maximum_[m][half];
#pragma unroll
        for (int n = 0; n < kNTiles; ++n) {
          highest = fmaxf(highest, fmaxf(logits[m][n][2 * half], logits[m][n][2 * half + 1]));
        }
        highest = device::quad_max(highest);
        // All masked so far: any finite reference gives zeros.
        const float reference = highest == -INFINITY ? 0.0f : highest * to_log2;
        rescale[m][half] = device::exp2_fast(maximum_[m][half] * to_log2 - reference);
        maximum_[m][half] = highest;
        float added = 0;
#pragma unroll
        for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            logits[m][n][i] = device::exp2_fast(fmaf(logits[m][n][i], to_log2, -reference));
            added += logits[m][n][i];
          }
        }
        sum_[m][half] = sum_[m][half] * rescale[m][half] + added;
      }
    }
    rescale_output(rescale);
  }

  /// Left out where it would multiply by one throughout the warp: over long prefixes maxima soon stay as they are.
  __device__ __forceinline__ void rescale_output(const float (&rescale)[kMTiles][2]) {
    bool has_change = false;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) has_change = has_change || rescale[m][0] != 1.0f || rescale[m][1] != 1.0f;
    if (__ballot_sync(device::kAllLanes, has_change) == 0) return;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out_[m][n][i] *= rescale[m][i >> 1];
      }
    }
  }

  __device__ __forceinline__ void add_values(const float (&probabilities)[kMTiles][kNTiles][4], int stage) {
    const int lane = device::lane_idx();
#pragma unroll
    for (int k = 0; k < kTileKeys / 16; ++k) {
      std::uint32_t a[kMTiles][4];
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        // The accumulator's layout of two neighbouring fragments is the left operand's.
        const float(&low)[4] = probabilities[m][2 * k];
        const float(&high)[4] = probabilities[m][2 * k + 1];
        a[m][0] = device::pack_bf16(low[0], low[1]);
        a[m][1] = device::pack_bf16(low[2], low[3]);
        a[m][2] = device::pack_bf16(high[0], high[1]);
        a[m][3] = device::pack_bf16(high[2], high[3]);
      }
#pragma unroll
      for (int n = 0; n < kDimTiles / 2; ++n) {
        std::uint32_t b[4];
        device::load_matrices_transposed(b, Rows::chunk(values(stage), k * 16 + lane % 16, 2 * n + lane / 16));
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) {
          device::multiply_add(out_[m][2 * n], a[m], b[0], b[1]);
          device::multiply_add(out_[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) sum_[m][half] = device::quad_sum(sum_[m][half]);
    }
    if (task_.num_splits > 1)
      store_partials();
    else
      store_rows();
  }

  __device__ __forceinline__ void store_partials() const {
    const float to_log2 = task_.arguments.scale * kLog2E;
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t row = warp_first_row() + static_cast<std::uint32_t>(device::fragment_row(m, half * 2));
        if (row >= task_.num_rows) continue;
        const std::uint64_t idx = task_.partial_idx(split_, kv_head_, row);
        if ((device::lane_idx() & 3) == 0) {
          task_.partial_maximum[idx] = maximum_[m][half] * to_log2;
          task_.partial_sum[idx] = sum_[m][half];
        }
        if (sum_[m][half] == 0) continue;
        float* out = task_.partial_out + idx * kHeadDim;
#pragma unroll
        for (int n = 0; n < kDimTiles; ++n) {
          struct alignas(8) Pair {
            float values[2];
          };
          *reinterpret_cast<Pair*>(out +
                                   device::fragment_column(n, 0)) = {{out_[m][n][2 * half], out_[m][n][2 * half + 1]}};
        }
      }
    }
  }

  /// By way of the warp's own rows of the queries, which nobody reads any more: whole rows go to memory at a time.
  __device__ __forceinline__ void store_rows() const {
    const int warp_row = device::warp_idx() * kRowsPerWarp;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float inverse = 1.0f / sum_[m][half];
#pragma unroll
        for (int n = 0; n < kDimTiles; ++n) {
          auto* pair =
              reinterpret_cast<std::uint32_t*>(Rows::chunk(shared_, warp_row + device::fragment_row(m, half * 2), n));
          pair[device::lane_idx() & 3] =
              device::pack_bf16(out_[m][n][2 * half] * inverse, out_[m][n][2 * half + 1] * inverse);
        }
      }
    }
    __syncwarp();
    constexpr int kRowsAtOnce = device::kWarpLanes / Rows::kChunks;
    const int column = device::lane_idx() % Rows::kChunks;
#pragma unroll
    for (int i = device::lane_idx() / Rows::kChunks; i < kRowsPerWarp; i += kRowsAtOnce) {
      const std::uint32_t row = warp_first_row() + static_cast<std::uint32_t>(i);
      if (row >= task_.num_rows) continue;
      const auto packed = *reinterpret_cast<const device::Packed8*>(Rows::chunk(shared_, warp_row + i, column));
      *reinterpret_cast<device::Packed8*>(task_.arguments.out + task_.query_offset(kv_head_, row) + column * 8) =
          packed;
    }
  }

  const AttentionTask& task_;
  device::SlotMap slots_;
  std::byte* shared_;  // queries, then of each stage keys and values, then which logits are kept
  std::uint32_t first_row_;
  int kv_head_, split_;
  std::uint32_t num_own_;  // own keys that the block's last row sees
  std::uint32_t num_prefix_tiles_;
  float out_[kMTiles][kDimTiles][4];
  float maximum_[kMTiles][2];  // of raw logits
  float sum_[kMTiles][2];      // of this lane's columns
};

}  // namespace reprefill::kernels::attention
