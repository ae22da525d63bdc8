#include "kernels/base/next_reads.cuh"
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

/// Vectors of a row that a thread keeps from its sum to its output: all of rows of up to 8,192; the rest is read again.
constexpr unsigned kHeld = 4;

/// x, plus what is added to it, as it is stored.
__device__ Floats8 load_x(const RmsNorm& arguments, std::uint64_t at) {
  Floats8 values = load8(arguments.x + at);
  if (arguments.delta == nullptr) return values;
  const Floats8 delta = load8(arguments.delta + at);
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values.values[i] += delta.values[i];
  store8(arguments.x + at, values);
  return load8(arguments.x + at);  // as rounded
}

__device__ float sum_of_squares(const Floats8& values, float sum) {
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) sum += values.values[i] * values.values[i];
  return sum;
}

__device__ void store_scaled(BFloat16* to, Floats8 values, const Floats8& weight, float factor) {
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values.values[i] *= factor * weight.values[i];
  store8(to, values);
}

__global__ void __launch_bounds__(kThreads) rmsnorm_kernel(RmsNorm arguments) {
  device::fetch_next(arguments.next);
  const std::uint64_t row = std::uint64_t{blockIdx.x} * arguments.hidden;
  constexpr std::uint32_t kStep = kThreads * kVector;
  const std::uint32_t first = threadIdx.x * kVector;
  Floats8 held[kHeld], weights[kHeld];
  float squares = 0;
#pragma unroll
  for (unsigned i = 0; i < kHeld; ++i) {
    if (first + i * kStep >= arguments.hidden) continue;
    held[i] = load_x(arguments, row + first + i * kStep);
    weights[i] = load8(arguments.weight + first + i * kStep);
    squares = sum_of_squares(held[i], squares);
  }
  for (std::uint32_t at = first + kHeld * kStep; at < arguments.hidden; at += kStep) {
    squares = sum_of_squares(load_x(arguments, row + at), squares);
  }
  const float mean = block_sum(squares) / static_cast<float>(arguments.hidden);
  const float factor = 1.0f / sqrtf(mean + arguments.eps);
  BFloat16* out = arguments.out + row;
#pragma unroll
  for (unsigned i = 0; i < kHeld; ++i) {
    if (first + i * kStep >= arguments.hidden) continue;
    store_scaled(out + first + i * kStep, held[i], weights[i], factor);
  }
  for (std::uint32_t at = first + kHeld * kStep; at < arguments.hidden; at += kStep) {
    store_scaled(out + at, load8(arguments.x + row + at), load8(arguments.weight + at), factor);
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
  check_next_reads(arguments.next);
  device::launch(rmsnorm_kernel, {.grid = dim3(arguments.num_tokens), .block_threads = kThreads}, stream, arguments);
}

}  // namespace reprefill::kernels
