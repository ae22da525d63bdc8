// Fetching for the next kernel: PTX ISA 8.0 section 9.7.8.24 (cp.async.bulk.prefetch).
#pragma once

#include <bit>

#include "kernels/base/check.hpp"
#include "kernels/base/device.cuh"
#include "kernels/base/next_reads.hpp"

namespace reprefill::kernels {
namespace device {

inline constexpr std::uint32_t kFetchBytes = 16 * 1024;  // by one instruction

#ifndef REPREFILL_EMULATED_DEVICE
__device__ __forceinline__ void prefetch_l2([[maybe_unused]] const std::byte* from,
                                            [[maybe_unused]] std::uint32_t bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
#endif
}
#endif

/// Shared among the threads of a one-dimensional grid, neighbouring parts in different blocks; waits for nothing.
__device__ __forceinline__ void fetch_next(const NextReads& next) {
  const auto* from = static_cast<const std::byte*>(next.data);
  const std::uint64_t step = std::uint64_t{gridDim.x} * blockDim.x * kFetchBytes;
  std::uint64_t at = (std::uint64_t{threadIdx.x} * gridDim.x + blockIdx.x) * kFetchBytes;
  for (; at < next.bytes; at += step) {
    const std::uint64_t left = next.bytes - at;
    prefetch_l2(from + at, left < kFetchBytes ? static_cast<std::uint32_t>(left) : kFetchBytes);
  }
}

}  // namespace device

inline void check_next_reads(const NextReads& next) {
  check_shape(next.bytes == 0 || next.data != nullptr, "next reads: {} bytes at null", next.bytes);
  check_shape(next.bytes % 16 == 0 && std::bit_cast<std::uintptr_t>(next.data) % 16 == 0,
              "next reads: {} bytes that are not aligned to 16", next.bytes);
}

}  // namespace reprefill::kernels
