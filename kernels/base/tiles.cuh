// Tiles of bf16 rows in shared memory, and their products: what attention and scoring share.
#pragma once

#include "kernels/base/paged.hpp"
#include "kernels/base/primitives.cuh"

namespace reprefill::kernels::device {

/// Division by a number that only the host knows: exact for n * divisor < 2^32.
struct FastDivide {
  std::uint32_t divisor = 1;
  std::uint32_t multiplier = 0;  // floor(2^32 / divisor) + 1; 0 for 1

  static FastDivide by(std::uint32_t divisor) {
    if (divisor == 1) return {};
    return {divisor, static_cast<std::uint32_t>((std::uint64_t{1} << 32) / divisor + 1)};
  }
  __device__ __forceinline__ std::uint32_t quotient(std::uint32_t n) const {
    return multiplier == 0 ? n : __umulhi(n, multiplier);
  }
};

inline constexpr int kTileThreads = 128;
inline constexpr int kTileWarps = kTileThreads / kWarpLanes;
inline constexpr int kTileRows = 64;  // rows of the streamed operand that are multiplied at once

/// Rows of kHeadDim bf16. The 16-byte chunks of a row are permuted by its lowest bits, so that eight rows' chunks of
/// one column lie in different banks: loads of fragments and stores of rows are without conflicts.
template <int kHeadDim>
struct Tile {
  static constexpr int kChunks = kHeadDim / 8;
  static constexpr int kRowBytes = kHeadDim * 2;

  __device__ __forceinline__ static std::byte* chunk(std::byte* tile, int row, int chunk) {
    return tile + row * kRowBytes + ((chunk ^ (row & 7)) << 4);
  }
  __device__ __forceinline__ static const std::byte* chunk(const std::byte* tile, int row, int chunk) {
    return tile + row * kRowBytes + ((chunk ^ (row & 7)) << 4);
  }

  /// Starts copies of kRows rows by all threads of the block. row_pointer(row) is the row's first element, or null for
  /// a row of zeros. Pointers are collected first, so that their loads are under way together.
  template <int kRows, typename RowPointer>
  __device__ __forceinline__ static void load_rows(std::byte* tile, const BFloat16* valid,
                                                   const RowPointer& row_pointer) {
    constexpr int kRowsAtOnce = kTileThreads / kChunks;
    constexpr int kBatch = kRows / kRowsAtOnce < 8 ? kRows / kRowsAtOnce : 8;
    static_assert(kRows % (kRowsAtOnce * kBatch) == 0);
    const int first_row = static_cast<int>(threadIdx.x) / kChunks, column = static_cast<int>(threadIdx.x) % kChunks;
#pragma unroll
    for (int batch = 0; batch < kRows; batch += kRowsAtOnce * kBatch) {
      const BFloat16* from[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) from[i] = row_pointer(batch + first_row + i * kRowsAtOnce);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const BFloat16* chunk_from = from[i] == nullptr ? valid : from[i] + column * 8;
        copy_async(chunk(tile, batch + first_row + i * kRowsAtOnce, column), chunk_from, from[i] != nullptr);
      }
    }
  }

  /// products[m][n] = rows first_row + 16 m of `a` times rows 8 n of `b`, transposed: the fragments of multiply_add.
  template <int kMTiles>
  __device__ __forceinline__ static void multiply(float (&products)[kMTiles][kTileRows / 8][4], const std::byte* a,
                                                  int first_row, const std::byte* b) {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kTileRows / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) products[m][n][i] = 0;
      }
    }
    const int lane = lane_idx();
    const int a_row = first_row + lane % 16, b_row = (lane & 7) + (lane >> 4) * 8;
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      std::uint32_t a_fragments[kMTiles][4];
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) load_matrices(a_fragments[m], chunk(a, a_row + m * 16, 2 * k + lane / 16));
#pragma unroll
      for (int n = 0; n < kTileRows / 16; ++n) {
        std::uint32_t b_fragments[4];
        load_matrices(b_fragments, chunk(b, b_row + n * 16, 2 * k + ((lane >> 3) & 1)));
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) {
          multiply_add(products[m][2 * n], a_fragments[m], b_fragments[0], b_fragments[1]);
          multiply_add(products[m][2 * n + 1], a_fragments[m], b_fragments[2], b_fragments[3]);
        }
      }
    }
  }
};

/// Where slots are, when the kernel runs.
struct SlotMap {
  const std::uint32_t* tokens_per_page;
  std::uint32_t num_slots;
  std::uint32_t page_tokens;
  FastDivide pages;

  __device__ SlotMap(const PagedTokens& tokens, const FastDivide& division)
      : tokens_per_page(tokens.tokens_per_page),
        num_slots(tokens.device_num_slots != nullptr ? *tokens.device_num_slots : tokens.num_slots),
        page_tokens(tokens.page_tokens),
        pages(division) {}

  struct Place {
    std::uint32_t page, offset;
  };
  __device__ __forceinline__ Place place(std::uint32_t slot) const {
    const std::uint32_t page = pages.quotient(slot);
    return {page, slot - page * page_tokens};
  }
  /// Whether the slot holds a token.
  __device__ __forceinline__ bool holds(std::uint32_t slot, const Place& place) const {
    return slot < num_slots && (tokens_per_page == nullptr || place.offset < __ldg(tokens_per_page + place.page));
  }
};

/// The row's column that element i of fragment n belongs to, of the four that a lane holds.
__device__ __forceinline__ int fragment_column(int n, int i) { return n * 8 + (lane_idx() & 3) * 2 + (i & 1); }
__device__ __forceinline__ int fragment_row(int m, int i) { return m * 16 + (i >> 1) * 8 + lane_idx() / 4; }

}  // namespace reprefill::kernels::device
