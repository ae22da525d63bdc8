#include "benchmarks/gpu/read_rate.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "kernels/base/cuda_check.hpp"

namespace reprefill::benchmarks {
namespace {

constexpr std::size_t kBytes = std::size_t{4} << 30;
constexpr int kBlocks = 2048, kThreads = 512, kLoadsAtOnce = 8;

__global__ void __launch_bounds__(kThreads) read_kernel(const uint4* data, std::size_t count, unsigned* never) {
  const std::size_t stride = std::size_t{kBlocks} * kThreads;
  unsigned seen = 0;
  for (std::size_t first = std::size_t{blockIdx.x} * kThreads + threadIdx.x; first < count;
       first += stride * kLoadsAtOnce) {
    uint4 loaded[kLoadsAtOnce];
#pragma unroll
    for (int i = 0; i < kLoadsAtOnce; ++i) {
      const std::size_t at = first + static_cast<std::size_t>(i) * stride;
      loaded[i] = at < count ? __ldcs(data + at) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kLoadsAtOnce; ++i) seen |= loaded[i].x | loaded[i].y | loaded[i].z | loaded[i].w;
  }
  if (seen == 1) *never = seen;  // the memory holds zeros: nothing is written, and no load is left out
}

}  // namespace

double measured_read_bytes_per_s() {
  uint4* data = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  REPREFILL_CUDA(cudaMalloc(reinterpret_cast<void**>(&data), kBytes + sizeof(unsigned)));
  REPREFILL_CUDA(cudaMemset(data, 0, kBytes));
  REPREFILL_CUDA(cudaEventCreate(&begin));
  REPREFILL_CUDA(cudaEventCreate(&end));
  std::array<float, 7> milliseconds{};
  constexpr std::size_t kCount = kBytes / sizeof(uint4);
  for (int run = -2; run < static_cast<int>(milliseconds.size()); ++run) {
    REPREFILL_CUDA(cudaEventRecord(begin));
    read_kernel<<<kBlocks, kThreads>>>(data, kCount, reinterpret_cast<unsigned*>(data + kCount));
    REPREFILL_CUDA(cudaGetLastError());
    REPREFILL_CUDA(cudaEventRecord(end));
    REPREFILL_CUDA(cudaEventSynchronize(end));
    if (run >= 0) REPREFILL_CUDA(cudaEventElapsedTime(&milliseconds[static_cast<std::size_t>(run)], begin, end));
  }
  REPREFILL_CUDA(cudaEventDestroy(begin));
  REPREFILL_CUDA(cudaEventDestroy(end));
  REPREFILL_CUDA(cudaFree(data));
  std::ranges::nth_element(milliseconds, milliseconds.begin() + milliseconds.size() / 2);
  return static_cast<double>(kBytes) / (static_cast<double>(milliseconds[milliseconds.size() / 2]) * 1e-3);
}

}  // namespace reprefill::benchmarks
