#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/base/cuda_check.hpp"
#include "tests/kernels/support/device_memory.hpp"

namespace reprefill::kernels::test {

bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

void synchronize() {
  const cudaError_t status = cudaDeviceSynchronize();
  ASSERT_EQ(status, cudaSuccess) << cudaGetErrorName(status) << ": " << cudaGetErrorString(status);
}

void for_each_schedule(const std::function<void()>& check) {
  for (const Instructions instructions : {Instructions::mma_sync, Instructions::automatic}) {
    tested_instructions = instructions;
    check();
  }
}

DeviceMemory::DeviceMemory(std::size_t num_bytes, Kind kind) : num_bytes_(num_bytes) {
  void* pointer = nullptr;
  const std::size_t allocated = std::max<std::size_t>(num_bytes, 1);
  if (kind == Kind::pinned_host) {
    REPREFILL_CUDA(cudaMallocHost(&pointer, allocated));
    memory_ = {static_cast<std::byte*>(pointer), [](std::byte* p) { (void)cudaFreeHost(p); }};
  } else {
    REPREFILL_CUDA(cudaMalloc(&pointer, allocated));
    memory_ = {static_cast<std::byte*>(pointer), [](std::byte* p) { (void)cudaFree(p); }};
  }
}

void DeviceMemory::write(const void* from, std::size_t num_bytes) {
  if (num_bytes > 0) REPREFILL_CUDA(cudaMemcpy(get(), from, num_bytes, cudaMemcpyDefault));
}
void DeviceMemory::read(void* to, std::size_t num_bytes) const {
  if (num_bytes > 0) REPREFILL_CUDA(cudaMemcpy(to, get(), num_bytes, cudaMemcpyDefault));
}
void DeviceMemory::fill(int byte) {
  if (num_bytes_ == 0) return;
  REPREFILL_CUDA(cudaMemset(get(), byte, num_bytes_));
}

}  // namespace reprefill::kernels::test
