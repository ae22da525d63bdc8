// What device code and launchers need of CUDA, so that the same sources also compile as C++ and run on the CPU, thread
// by thread, in kernels/emulation (tests without a GPU).
#pragma once

#ifdef REPREFILL_EMULATED_DEVICE
#include "kernels/emulation/device_emulation.hpp"
#else

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/base/cuda_check.hpp"

namespace reprefill::kernels::device {

/// The block's dynamic shared memory, aligned for tiles.
__device__ __forceinline__ std::byte* dynamic_shared() {
  extern __shared__ __align__(128) std::byte reprefill_dynamic_shared[];
  return reprefill_dynamic_shared;
}

struct LaunchShape {
  dim3 grid;
  unsigned block_threads;
  std::size_t shared_bytes = 0;
};

/// Launches and checks; more dynamic shared memory than the default limit is asked for where needed.
template <typename... Params>
void launch(void (*kernel)(Params...), const LaunchShape& shape, cudaStream_t stream,
            std::type_identity_t<Params>... args) {
  constexpr std::size_t kDefaultSharedBytes = 48 * 1024;
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > kDefaultSharedBytes) {
    REPREFILL_CUDA(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shape.shared_bytes)));
  }
  void* pointers[] = {static_cast<void*>(&args)...};
  REPREFILL_CUDA(
      cudaLaunchKernel(function, shape.grid, dim3(shape.block_threads), pointers, shape.shared_bytes, stream));
}

struct DeviceLimits {
  int num_multiprocessors;
  std::size_t shared_bytes_per_block;  // opt-in maximum
  std::size_t shared_bytes_per_multiprocessor;
};

/// Of the current device. Attributes only: no synchronisation, allowed while a stream is captured.
inline DeviceLimits device_limits() {
  int device = 0;
  REPREFILL_CUDA(cudaGetDevice(&device));
  const auto attribute = [&](cudaDeviceAttr name) {
    int value = 0;
    REPREFILL_CUDA(cudaDeviceGetAttribute(&value, name, device));
    return value;
  };
  return {.num_multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
          .shared_bytes_per_block = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
          .shared_bytes_per_multiprocessor =
              static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor))};
}

}  // namespace reprefill::kernels::device

#endif
