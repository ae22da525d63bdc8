// Checks CUDA calls. Needs the CUDA toolkit's headers.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/base/check.hpp"

/// Throws CudaError when the call fails. Not for destructors: they log.
#define REPREFILL_CUDA(call)                                                                                    \
  do {                                                                                                          \
    const cudaError_t reprefill_status = (call);                                                                \
    if (reprefill_status != cudaSuccess) [[unlikely]] {                                                         \
      ::reprefill::kernels::detail::throw_cuda_error(#call, cudaGetErrorName(reprefill_status),                 \
                                                     cudaGetErrorString(reprefill_status), __FILE__, __LINE__); \
    }                                                                                                           \
  } while (false)
