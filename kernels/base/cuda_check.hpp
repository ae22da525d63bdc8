// Checks CUDA calls. Needs the CUDA toolkit's headers.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/base/kernel_error.hpp"

namespace reprefill::kernels::detail {

inline void check_cuda(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  throw CudaError(
      fmt::format("{}:{}: {} failed: {} ({})", file, line, call, cudaGetErrorName(status), cudaGetErrorString(status)));
}

}  // namespace reprefill::kernels::detail

/// Throws CudaError when the call fails. Not for destructors: they log.
#define REPREFILL_CUDA(call) ::reprefill::kernels::detail::check_cuda((call), #call, __FILE__, __LINE__)
