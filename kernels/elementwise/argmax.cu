// A vocabulary of 152,064 logits by 64 blocks; the last block to finish looks through their results.
#include "kernels/base/primitives.cuh"
#include "kernels/elementwise/elementwise.hpp"

namespace reprefill::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::uint64_t kNanKey = ~std::uint64_t{0};

/// Orders like (logit, lower index first); NaN is above all.
__device__ std::uint64_t key_of(float logit, std::uint32_t idx) {
  if (logit != logit) return kNanKey;
  const std::uint32_t bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);
  const std::uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return (std::uint64_t{ordered} << 32) | (0xffffffffu - idx);
}

__device__ std::uint64_t maximum(std::uint64_t a, std::uint64_t b) { return a > b ? a : b; }

__device__ std::uint64_t block_maximum(std::uint64_t key) {
  __shared__ std::uint64_t warp_keys[kThreads / 32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    key = maximum(key, __shfl_xor_sync(device::kAllLanes, key, step));
  }
  __syncthreads();  // warp_keys may still be read by an earlier call
  if (device::lane_idx() == 0) warp_keys[device::warp_idx()] = key;
  __syncthreads();
  for (const std::uint64_t other : warp_keys) key = maximum(key, other);
  return key;
}

__global__ void __launch_bounds__(kThreads) argmax_kernel(Argmax arguments) {
  __shared__ bool is_last;
  std::uint64_t* partial_keys = arguments.workspace;
  auto* num_finished = reinterpret_cast<unsigned*>(arguments.workspace + kArgmaxBlocks);
  std::uint64_t key = 0;
  for (std::uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < arguments.count; i += kArgmaxBlocks * kThreads) {
    key = maximum(key, key_of(arguments.logits[i], i));
  }
  key = block_maximum(key);
  if (threadIdx.x == 0) {
    partial_keys[blockIdx.x] = key;
    __threadfence();  // the partial is visible before the count that announces it
    is_last = atomicAdd(num_finished, 1u) == kArgmaxBlocks - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  // Read past L1, which other blocks' stores do not reach.
  const volatile std::uint64_t* written = partial_keys;
  key = block_maximum(threadIdx.x < kArgmaxBlocks ? written[threadIdx.x] : 0);
  if (threadIdx.x < kArgmaxBlocks) partial_keys[threadIdx.x] = 0;
  if (threadIdx.x == 0) {
    *arguments.id = key == kNanKey ? -1 : static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(key));
    *num_finished = 0;
  }
}

}  // namespace

void launch_argmax(const Argmax& arguments, cudaStream_t stream) {
  check_shape(arguments.count > 0 && arguments.count < 0x7fffffffu, "argmax: {} logits", arguments.count);
  check_shape(arguments.logits != nullptr && arguments.id != nullptr && arguments.workspace != nullptr,
              "argmax: a pointer is null");
  device::launch(argmax_kernel, {.grid = dim3(kArgmaxBlocks), .block_threads = kThreads}, stream, arguments);
}

}  // namespace reprefill::kernels
