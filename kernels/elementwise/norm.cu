#include "kernels/elementwise/elementwise.hpp"
#include "kernels/elementwise/vectors.cuh"

namespace reprefill::kernels {
namespace {

constexpr unsigned kHeld = 4;  // vectors of a row that a thread keeps in registers
constexpr std::uint32_t kMostHidden = 1024 * kHeld * kVector;

/// Over all threads, in a fixed order.
template <unsigned kThreads>
__device__ float block_sum(float value) {
  constexpr unsigned kWarps = kThreads / 32;
  __shared__ float warp_sums[kWarps];
  value = device::warp_sum(value);
  if (device::lane_idx() == 0) warp_sums[device::warp_idx()] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (unsigned i = 0; i < kWarps; ++i) total += warp_sums[i];
  return total;
}

template <unsigned kThreads>
__global__ void __launch_bounds__(kThreads) rmsnorm_kernel(RmsNorm arguments) {
  const std::uint64_t row = std::uint64_t{blockIdx.x} * arguments.hidden;
  const auto column = [](unsigned i) { return (i * kThreads + threadIdx.x) * kVector; };
  Floats8 weights[kHeld], values[kHeld];
#pragma unroll
  for (unsigned i = 0; i < kHeld; ++i) {
    if (column(i) < arguments.hidden) weights[i] = load8(arguments.weight + column(i));
  }
  device::wait_for_previous_kernel();
  float squares = 0;
#pragma unroll
  for (unsigned i = 0; i < kHeld; ++i) {
    if (column(i) >= arguments.hidden) break;
    values[i] = load8(arguments.x + row + column(i));
    if (arguments.delta != nullptr) {
      const Floats8 delta = load8(arguments.delta + row + column(i));
#pragma unroll
      for (unsigned j = 0; j < kVector; ++j) values[i].values[j] += delta.values[j];
      const device::Packed8 rounded = pack8(values[i]);
      *reinterpret_cast<device::Packed8*>(arguments.x + row + column(i)) = rounded;
      values[i] = unpack8(rounded);
    }
#pragma unroll
    for (unsigned j = 0; j < kVector; ++j) squares += values[i].values[j] * values[i].values[j];
  }
  const float mean = block_sum<kThreads>(squares) / static_cast<float>(arguments.hidden);
  const float factor = 1.0f / sqrtf(mean + arguments.eps);
#pragma unroll
  for (unsigned i = 0; i < kHeld; ++i) {
    if (column(i) >= arguments.hidden) break;
#pragma unroll
    for (unsigned j = 0; j < kVector; ++j) values[i].values[j] *= factor * weights[i].values[j];
    store8(arguments.out + row + column(i), values[i]);
  }
}

template <unsigned kThreads>
void launch(const RmsNorm& arguments, cudaStream_t stream) {
  device::launch(rmsnorm_kernel<kThreads>,
                 {.grid = dim3(arguments.num_tokens), .block_threads = kThreads, .overlaps_previous = true}, stream,
                 arguments);
}

}  // namespace

void launch_rmsnorm(const RmsNorm& arguments, cudaStream_t stream) {
  check_shape(arguments.hidden > 0 && arguments.hidden % kVector == 0 && arguments.hidden <= kMostHidden,
              "rmsnorm: hidden {} is not a positive multiple of {} up to {}", arguments.hidden, kVector, kMostHidden);
  check_shape(arguments.weight != nullptr, "rmsnorm: weight is null");
  if (arguments.num_tokens == 0) return;
  check_shape(arguments.x != nullptr && arguments.out != nullptr, "rmsnorm: x or out is null");
  check_shape(arguments.delta == nullptr || arguments.out != arguments.x, "rmsnorm: out is x, which delta is added to");
  if (arguments.hidden <= 256 * kHeld * kVector)
    launch<256>(arguments, stream);
  else
    launch<1024>(arguments, stream);
}

}  // namespace reprefill::kernels
