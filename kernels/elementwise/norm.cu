#include "kernels/elementwise/elementwise.hpp"
#include "kernels/elementwise/vectors.cuh"

namespace reprefill::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / 32;

/// Over all threads, in a fixed order.
__device__ float block_sum(float value) {
  __shared__ float warp_sums[kWarps];
  value = device::warp_sum(value);
  if (device::lane_idx() == 0) warp_sums[device::warp_idx()] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (unsigned i = 0; i < kWarps; ++i) total += warp_sums[i];
  return total;
}

__global__ void __launch_bounds__(kThreads) rmsnorm_kernel(RmsNorm arguments) {
  const std::uint64_t row = std::uint64_t{blockIdx.x} * arguments.hidden;
  BFloat16* x = arguments.x + row;
  float squares = 0;
  for (std::uint32_t i = threadIdx.x * kVector; i < arguments.hidden; i += kThreads * kVector) {
    Floats8 values = load8(x + i);
    if (arguments.delta != nullptr) {
      const Floats8 delta = load8(arguments.delta + row + i);
#pragma unroll
      for (unsigned j = 0; j < kVector; ++j) values.values[j] += delta.values[j];
      store8(x + i, values);
      values = load8(x + i);  // as rounded
    }
#pragma unroll
    for (unsigned j = 0; j < kVector; ++j) squares += values.values[j] * values.values[j];
  }
  const float mean = block_sum(squares) / static_cast<float>(arguments.hidden);
  const float factor = 1.0f / sqrtf(mean + arguments.eps);
  for (std::uint32_t i = threadIdx.x * kVector; i < arguments.hidden; i += kThreads * kVector) {
    Floats8 values = load8(x + i);
    const Floats8 weight = load8(arguments.weight + i);
#pragma unroll
    for (unsigned j = 0; j < kVector; ++j) values.values[j] *= factor * weight.values[j];
    store8(arguments.out + row + i, values);
  }
}

}  // namespace

void launch_rmsnorm(const RmsNorm& arguments, cudaStream_t stream) {
  check_shape(arguments.hidden > 0 && arguments.hidden % kVector == 0,
              "rmsnorm: hidden {} is not a positive multiple of {}", arguments.hidden, kVector);
  check_shape(arguments.weight != nullptr, "rmsnorm: weight is null");
  if (arguments.num_tokens == 0) return;
  check_shape(arguments.x != nullptr && arguments.out != nullptr, "rmsnorm: x or out is null");
  check_shape(arguments.delta == nullptr || arguments.out != arguments.x, "rmsnorm: out is x, which delta is added to");
  device::launch(rmsnorm_kernel, {.grid = dim3(arguments.num_tokens), .block_threads = kThreads}, stream, arguments);
}

}  // namespace reprefill::kernels
