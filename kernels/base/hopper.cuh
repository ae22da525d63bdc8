// What Hopper adds to primitives.cuh: products of a warpgroup straight from shared memory (wgmma), barriers in shared
// memory that count arrivals and copies (mbarrier), and registers that move between warpgroups. sm_90a only: kernels
// compile it under __CUDA_ARCH_FEAT_SM90_ALL. PTX ISA 8.0 sections 9.7.15 (wgmma), 9.7.13.15 (mbarrier).
#pragma once

#include "kernels/base/primitives.cuh"
#include "kernels/base/tiles.cuh"

namespace reprefill::kernels::device::hopper {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWarpgroupRows = 64;  // of the left operand of a product

/// Eight bytes of shared memory that threads wait on, phase after phase.
class Barrier {
 public:
  __device__ __forceinline__ explicit Barrier(std::uint64_t* shared) : address_(shared_address(shared)) {}

  __device__ __forceinline__ void init(int num_arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address_), "r"(num_arrivals) : "memory");
  }
  __device__ __forceinline__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address_) : "memory");
  }
  /// Arrives when this thread's asynchronous copies so far have: one of the expected arrivals.
  __device__ __forceinline__ void arrive_with_copies() const {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(address_) : "memory");
  }
  /// Until the phase of this parity has ended. A new barrier is in phase 0, and its phase of parity 1 counts as ended.
  __device__ __forceinline__ void wait(std::uint32_t parity) const {
    std::uint32_t is_done = 0;
    while (is_done == 0) {
      asm volatile(
          "{\n.reg .pred done;\n"
          "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
          "selp.u32 %0, 1, 0, done;\n}\n"
          : "=r"(is_done)
          : "r"(address_), "r"(parity)
          : "memory");
    }
  }

 private:
  std::uint32_t address_;
};

/// An arrival of every warp, once all its lanes have come here; or of every lane, where what they read themselves may
/// be overwritten (products read for the warp as a whole).
__device__ __forceinline__ void release(const Barrier& free, bool by_lanes = false) {
  __syncwarp();
  if (by_lanes || lane_idx() == 0) free.arrive();
}
/// How many arrivals that is of `num_warpgroups`.
__device__ __forceinline__ int num_releases(int num_warpgroups, bool by_lanes = false) {
  return num_warpgroups * kWarpgroupThreads / (by_lanes ? 1 : kWarpLanes);
}

/// A place in a ring of kStages and the parity of its phase.
template <int kStages>
struct RingPlace {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

/// A block may not end with copies into its shared memory under way.
__device__ __forceinline__ void finish_copies() {
  commit_copies();
  wait_copies<0>();
}

/// Makes what was written to shared memory by copies and stores visible to products, which read it by another way.
__device__ __forceinline__ void fence_shared_for_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// Until kThreads threads have come to barrier kId, 1 to 15, here or by announce.
template <int kId, int kThreads>
__device__ __forceinline__ void sync_threads() {
  asm volatile("bar.sync %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
}
/// Comes to a barrier without waiting at it.
template <int kId, int kThreads>
__device__ __forceinline__ void announce() {
  asm volatile("bar.arrive %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
}

/// Two warpgroups that start their products in turns, so that one multiplies while the other computes exponentials.
/// Barriers kFirstId and the next are theirs. Each takes part in every turn; with one warpgroup nothing waits.
template <int kFirstId>
class Turns {
 public:
  __device__ __forceinline__ Turns(int warpgroup, bool is_shared) : warpgroup_(warpgroup), is_shared_(is_shared) {}

  /// Before the first turn, if there is one: the first warpgroup may begin.
  __device__ __forceinline__ void open() const {
    if (is_shared_ && warpgroup_ == 1) announce<kFirstId, kThreads>();
  }
  __device__ __forceinline__ void await() const {
    if (!is_shared_) return;
    if (warpgroup_ == 0)
      sync_threads<kFirstId, kThreads>();
    else
      sync_threads<kFirstId + 1, kThreads>();
  }
  __device__ __forceinline__ void pass(bool is_last) const {
    if (!is_shared_) return;
    if (warpgroup_ == 0)
      announce<kFirstId + 1, kThreads>();
    else if (!is_last)
      announce<kFirstId, kThreads>();
  }

 private:
  static constexpr int kThreads = 2 * kWarpgroupThreads;
  int warpgroup_;
  bool is_shared_;
};

/// What is copied where there is no row: a zero times what happens to be in memory could be NaN.
static __device__ const std::uint32_t kZeros[64] __attribute__((aligned(16))) = {};
__device__ __forceinline__ const BFloat16* absent_row() { return reinterpret_cast<const BFloat16*>(kZeros); }

/// Rows of kHeadDim bf16 as products want them: columns in blocks of 64, a block row after row of 128 bytes, whose
/// 16-byte chunks are permuted by the row's lowest bits ("128-byte swizzle"). Tiles begin at multiples of 1024 bytes.
template <int kTileRowCount, int kHeadDim>
struct ProductTile {
  static constexpr int kChunks = kHeadDim / 8;
  static constexpr int kBlockBytes = kTileRowCount * 128;
  static constexpr std::size_t kBytes = static_cast<std::size_t>(kTileRowCount) * kHeadDim * 2;

  __device__ __forceinline__ static std::byte* chunk(std::byte* tile, int row, int column) {
    return tile + (column >> 3) * kBlockBytes + row * 128 + (((column & 7) ^ (row & 7)) << 4);
  }

  /// Starts copies of kRows rows by the warp: first_row and following. Lane l has the address of row first_row + l %
  /// kRows; absent_row() for a row of zeros.
  template <int kRows>
  __device__ __forceinline__ static void load_warp_rows(std::byte* tile, int first_row, const BFloat16* row) {
    constexpr int kRowsAtOnce = kWarpLanes / kChunks;
    const int column = lane_idx() % kChunks, within = lane_idx() / kChunks;
    const auto bits = reinterpret_cast<unsigned long long>(row);
#pragma unroll 8
    for (int i = 0; i < kRows; i += kRowsAtOnce) {
      const auto* from = reinterpret_cast<const BFloat16*>(__shfl_sync(kAllLanes, bits, i + within));
      copy_async(chunk(tile, first_row + i + within, column), from + column * 8, true);
    }
  }

  /// The lower half of the descriptor of an operand that is multiplied along its columns: rows from `row` on, columns
  /// from 0 on. Sixteen columns further: plus column_step.
  __device__ __forceinline__ static std::uint32_t along_columns(const std::byte* tile, int row) {
    return kNoLeading << 16 | ((shared_address(tile) & 0x3ffffu) + static_cast<std::uint32_t>(row) * 128) >> 4;
  }
  __device__ __forceinline__ static constexpr std::uint32_t column_step(int step) {
    return static_cast<std::uint32_t>(step / 4 * kBlockBytes + step % 4 * 32) >> 4;
  }
  /// That of a right operand that is multiplied along its rows, with all columns as its width. Sixteen rows further:
  /// plus row_step.
  __device__ __forceinline__ static std::uint32_t along_rows(const std::byte* tile) {
    return static_cast<std::uint32_t>(kBlockBytes >> 4) << 16 | (shared_address(tile) & 0x3ffffu) >> 4;
  }
  __device__ __forceinline__ static constexpr std::uint32_t row_step(int step) {
    return static_cast<std::uint32_t>(step) * 16 * 128 >> 4;
  }

 private:
  static constexpr std::uint32_t kNoLeading = 1;  // the distance of column blocks, which such an operand does not use
};

/// Before the first product, and after registers that products read or add to were written.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// The warpgroup that a thread belongs to, the same for all lanes in the compiler's eyes too.
__device__ __forceinline__ int warpgroup_idx() {
  return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroupThreads, 0);
}

/// Keeps the compiler from moving accesses of these registers across products that use them.
template <int kTiles>
__device__ __forceinline__ void pin(float (&registers)[kTiles][4]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(registers[n][i])::"memory");
  }
}

/// Which of a block's rows this lane holds of its warpgroup's accumulators: the upper half of the warp's, or the lower.
__device__ __forceinline__ int row_in_block(int warpgroup, int half) {
  return warpgroup * kWarpgroupRows + warp_idx() % kTileWarps * 16 + half * 8 + lane_idx() / 4;
}

/// Masks the columns whose flag is 0.
template <int kTiles>
__device__ __forceinline__ void mask_dropped(float (&logits)[kTiles][4], const std::uint8_t* kept) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (kept[fragment_column(n, i)] == 0) logits[n][i] = logits[n][i + 2] = -INFINITY;
    }
  }
}

/// Masks columns from first_key on that the lane's two rows do not see: keys from visible[half] on. Later rows of a
/// warp see no fewer than earlier ones.
template <int kTiles>
__device__ __forceinline__ void mask_unseen(float (&logits)[kTiles][4], std::uint32_t first_key,
                                            const std::uint32_t (&visible)[2]) {
  if (first_key + 8 * kTiles <= __shfl_sync(kAllLanes, visible[0], 0)) return;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t key = first_key + static_cast<std::uint32_t>(fragment_column(n, i));
      if (key >= visible[i >> 1]) logits[n][i] = -INFINITY;
    }
  }
}

// clang-format off
#define REPREFILL_FOUR(c, n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define REPREFILL_SIXTEEN(c, n) \
  REPREFILL_FOUR(c, n), REPREFILL_FOUR(c, n + 1), REPREFILL_FOUR(c, n + 2), REPREFILL_FOUR(c, n + 3)
#define REPREFILL_REGISTERS_32                                                              \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                 \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define REPREFILL_REGISTERS_64                                                              \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                 \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "        \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "        \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"
// clang-format on

/// The upper half of all descriptors: 128-byte swizzle, groups of eight rows 1024 bytes apart.
#define REPREFILL_DESCRIPTOR(name, lower) "mov.b64 " name ", {" lower ", 0x40000040};\n"

/// c = (adds ? c : 0) + a b: a 64 x 16 and b 16 x 128 in shared memory, both along their columns. Of each eight columns
/// of c a lane holds what multiply_add's lane holds; warp w of the warpgroup has rows 16 w to 16 w + 15.
__device__ __forceinline__ void multiply_add(float (&c)[16][4], std::uint32_t a, std::uint32_t b, bool adds) {
  asm volatile("{\n.reg .pred adds;\n.reg .b64 a, b;\nsetp.ne.b32 adds, %66, 0;\n" REPREFILL_DESCRIPTOR("a", "%64")
                   REPREFILL_DESCRIPTOR(
                       "b", "%65") "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " REPREFILL_REGISTERS_64
                                   ", a, b, adds, 1, 1, 0, 0;\n}\n"
               : REPREFILL_SIXTEEN(c, 0), REPREFILL_SIXTEEN(c, 4), REPREFILL_SIXTEEN(c, 8), REPREFILL_SIXTEEN(c, 12)
               : "r"(a), "r"(b), "r"(static_cast<int>(adds)));
}
/// c += a b: a in registers (multiply_add's left operand), b 16 x 128 along its rows.
__device__ __forceinline__ void multiply_add_rows(float (&c)[16][4], const std::uint32_t (&a)[4], std::uint32_t b) {
  asm volatile("{\n.reg .b64 b;\n" REPREFILL_DESCRIPTOR(
                   "b", "%68") "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " REPREFILL_REGISTERS_64
                               ", {%64, %65, %66, %67}, b, 1, 1, 1, 1;\n}\n"
               : REPREFILL_SIXTEEN(c, 0), REPREFILL_SIXTEEN(c, 4), REPREFILL_SIXTEEN(c, 8), REPREFILL_SIXTEEN(c, 12)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b));
}
__device__ __forceinline__ void multiply_add_rows(float (&c)[8][4], const std::uint32_t (&a)[4], std::uint32_t b) {
  asm volatile("{\n.reg .b64 b;\n" REPREFILL_DESCRIPTOR(
                   "b", "%36") "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " REPREFILL_REGISTERS_32
                               ", {%32, %33, %34, %35}, b, 1, 1, 1, 1;\n}\n"
               : REPREFILL_SIXTEEN(c, 0), REPREFILL_SIXTEEN(c, 4)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b));
}

#undef REPREFILL_DESCRIPTOR
#undef REPREFILL_REGISTERS_64
#undef REPREFILL_REGISTERS_32
#undef REPREFILL_SIXTEEN
#undef REPREFILL_FOUR

}  // namespace reprefill::kernels::device::hopper
