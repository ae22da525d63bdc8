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

/// The block's dynamic shared memory, aligned for tiles (1024 bytes are what Hopper's products ask for).
__device__ __forceinline__ std::byte* dynamic_shared() {
  extern __shared__ __align__(1024) std::byte reprefill_dynamic_shared[];
  return reprefill_dynamic_shared;
}

struct LaunchShape {
  dim3 grid;
  unsigned block_threads;
  std::size_t shared_bytes = 0;
  /// May start while the kernel before it in the stream still runs, and then calls wait_for_previous_kernel before it
  /// reads what that one writes. From compute capability 9.0 on; before, kernels follow one another as ever.
  bool overlaps_previous = false;
};

/// 10 * major + minor of the current device.
inline int compute_capability() {
  int device = 0, major = 0, minor = 0;
  REPREFILL_CUDA(cudaGetDevice(&device));
  REPREFILL_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  REPREFILL_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return 10 * major + minor;
}

/// Whether the current device multiplies by warpgroups (wgmma), and this build contains that.
inline bool has_warpgroups() {
#ifdef REPREFILL_HAS_SM90A
  return compute_capability() == 90;
#else
  return false;
#endif
}

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
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.block_threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = shape.overlaps_previous && compute_capability() >= 90 ? 1 : 0;
  REPREFILL_CUDA(cudaLaunchKernelExC(&config, function, pointers));
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
