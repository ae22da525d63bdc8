// Stands in for the CUDA headers when a .cu file is compiled as C++ (REPREFILL_EMULATED_DEVICE): only by
// kernels/base/device.cuh and primitives.cuh. Meaning is that of the CUDA programming guide and of PTX ISA 8.0; time,
// caches and bank conflicts are not modelled, and memory is sequentially consistent.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/base/bfloat16.hpp"
#include "core/base/error.hpp"
#include "kernels/base/check.hpp"
#include "kernels/base/stream.hpp"
#include "kernels/emulation/fibers.hpp"

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after another
#define __grid_constant__
#define threadIdx (::reprefill::kernels::emulation::thread_index())
#define blockIdx (::reprefill::kernels::emulation::block_index())
#define blockDim (::reprefill::kernels::emulation::block_shape())
#define gridDim (::reprefill::kernels::emulation::grid_shape())

namespace reprefill::kernels {

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}  // implicit, as CUDA's
};

namespace device {

inline float __uint_as_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t __float_as_uint(float value) { return std::bit_cast<std::uint32_t>(value); }

}  // namespace device

using device::__float_as_uint;
using device::__uint_as_float;

inline int __popc(std::uint32_t word) { return std::popcount(word); }
inline int __clz(std::uint32_t word) { return std::countl_zero(word); }
inline std::uint32_t __umulhi(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::uint32_t>((std::uint64_t{a} * b) >> 32);
}
template <typename T>
T __ldg(const T* pointer) {
  return *pointer;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }

inline void __syncthreads() { emulation::block_barrier(); }
inline void __threadfence() {}
template <typename T>
T atomicAdd(T* target, T value) {
  const T old = *target;
  *target += value;
  return old;
}
template <typename T>
T atomicOr(T* target, T value) {
  const T old = *target;
  *target |= value;
  return old;
}

namespace emulation {

template <typename T>
struct Shuffle {
  T value;
  unsigned source_lane;
  T result;

  static void run(void* const* operands) {
    for (int lane = 0; lane < 32; ++lane) {
      auto& self = *static_cast<Shuffle*>(operands[lane]);
      self.result = static_cast<const Shuffle*>(operands[self.source_lane % 32])->value;
    }
  }
};

template <typename T>
T shuffle(std::uint32_t lanes, T value, unsigned source_lane) {
  REPREFILL_CHECK(lanes == 0xffffffffu, "shuffle of part of a warp, {:#x}: not emulated", lanes);
  Shuffle<T> operand{value, source_lane, T{}};
  warp_collective(&operand, &Shuffle<T>::run);
  return operand.result;
}

inline unsigned lane() { return thread_index().x % 32; }

}  // namespace emulation

template <typename T>
T __shfl_sync(std::uint32_t lanes, T value, int source) {
  return emulation::shuffle(lanes, value, static_cast<unsigned>(source));
}
template <typename T>
T __shfl_xor_sync(std::uint32_t lanes, T value, int mask) {
  return emulation::shuffle(lanes, value, emulation::lane() ^ static_cast<unsigned>(mask));
}
/// Lanes below `delta` keep their own value.
template <typename T>
T __shfl_up_sync(std::uint32_t lanes, T value, unsigned delta) {
  const unsigned lane = emulation::lane();
  return emulation::shuffle(lanes, value, lane < delta ? lane : lane - delta);
}
inline void __syncwarp() { emulation::shuffle(0xffffffffu, 0, 0u); }
inline std::uint32_t __ballot_sync(std::uint32_t lanes, bool predicate) {
  std::uint32_t word = predicate ? 1u << emulation::lane() : 0u;
  for (int step = 1; step < 32; step *= 2) word |= __shfl_xor_sync(lanes, word, step);
  return word;
}

namespace device {

inline std::byte* dynamic_shared() { return emulation::dynamic_shared(); }

struct LaunchShape {
  dim3 grid;
  unsigned block_threads;
  std::size_t shared_bytes = 0;
  bool overlaps_previous = false;  // kernels run one after another here
};

inline bool has_warpgroups() { return false; }

template <typename... Params>
void launch(void (*kernel)(Params...), const LaunchShape& shape, cudaStream_t, std::type_identity_t<Params>... args) {
  emulation::run_grid({.blocks = {shape.grid.x, shape.grid.y, shape.grid.z},
                       .block_threads = shape.block_threads,
                       .shared_bytes = shape.shared_bytes},
                      [&] { kernel(args...); });
}

struct DeviceLimits {
  int num_multiprocessors;
  std::size_t shared_bytes_per_block;
  std::size_t shared_bytes_per_multiprocessor;
};

inline DeviceLimits device_limits() {
  return {.num_multiprocessors = emulation::num_multiprocessors(),
          .shared_bytes_per_block = 99 * 1024,  // the least of the supported architectures (8.6)
          .shared_bytes_per_multiprocessor = 100 * 1024};
}

struct Packed8;

inline std::uint32_t pack_bf16(float low, float high) {
  return BFloat16::round(low).bits | (static_cast<std::uint32_t>(BFloat16::round(high).bits) << 16);
}
inline float exp2_fast(float x) { return std::exp2(x); }

inline void copy_async(void* shared, const void* global, bool valid) {
  REPREFILL_CHECK(
      std::bit_cast<std::uintptr_t>(shared) % 16 == 0 && (!valid || std::bit_cast<std::uintptr_t>(global) % 16 == 0),
      "an asynchronous copy is not aligned to 16 bytes");
  emulation::copy_async(shared, global, valid ? 16 : 0, valid ? 0 : 16);
}
inline void commit_copies() { emulation::commit_copies(); }
template <int kPending>
void wait_copies() {
  emulation::wait_copies(kPending);
}

inline void wait_for_previous_kernel() {}
inline void allow_next_kernel() {}

template <typename T>
const T* load_pointer(const T* const* from) {
  return *from;
}

void load_matrices(std::uint32_t (&out)[4], const void* row);
void load_matrices_transposed(std::uint32_t (&out)[4], const void* row);
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);

template <typename Packed = Packed8>
Packed load_streaming(const void* from) {
  Packed value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace device
}  // namespace reprefill::kernels
