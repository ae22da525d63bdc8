#include "kernels/elementwise/elementwise.hpp"
#include "kernels/elementwise/vectors.cuh"

namespace reprefill::kernels {
namespace {

constexpr unsigned kThreads = 256;  // a multiple of the vectors in half a head, so that a thread's angles stay the same

__device__ Floats8 load_biased(const BFloat16* row, const BFloat16* bias, std::uint32_t column) {
  Floats8 values = load8(row + column);
  if (bias != nullptr) {
    const Floats8 added = load8(bias + column);
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) values.values[i] += added.values[i];
  }
  return values;
}

struct Angles {
  Floats8 cosines, sines;
};

__device__ Angles angles(const RopeAppend& arguments, std::uint32_t position, std::uint32_t first) {
  Angles out;
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) {
    // The product is rounded to fp32, as in training; sincosf, not its fast form, keeps the argument's reduction exact.
    const float angle = static_cast<float>(position) * arguments.inverse_frequencies[first + i];
    float sine, cosine;
    sincosf(angle, &sine, &cosine);
    out.cosines.values[i] = cosine * arguments.attention_scaling;
    out.sines.values[i] = sine * arguments.attention_scaling;
  }
  return out;
}

__global__ void __launch_bounds__(kThreads) rope_append_kernel(RopeAppend arguments) {
  const std::uint32_t token = blockIdx.x;
  const auto head_dim = static_cast<std::uint32_t>(arguments.head_dim);
  const auto num_query_heads = static_cast<std::uint32_t>(arguments.num_query_heads);
  const auto num_kv_heads = static_cast<std::uint32_t>(arguments.num_kv_heads);
  const std::uint32_t half = head_dim / 2, vectors = half / kVector;
  const std::uint64_t row_size = std::uint64_t{num_query_heads + 2 * num_kv_heads} * head_dim;
  const BFloat16* row = arguments.qkv + token * row_size;
  const std::uint32_t own_token = arguments.first_own_token + token;
  BFloat16* queries = arguments.queries + std::uint64_t{token} * num_query_heads * head_dim;
  BFloat16* keys = arguments.own_keys + std::uint64_t{own_token} * num_kv_heads * head_dim;
  BFloat16* values = arguments.own_values + std::uint64_t{own_token} * num_kv_heads * head_dim;

  const std::uint32_t first = threadIdx.x % vectors * kVector;
  // A position on the device may be what the kernel before this one writes.
  if (arguments.device_first_position != nullptr) device::wait_for_previous_kernel();
  const std::uint32_t first_position =
      arguments.device_first_position != nullptr ? *arguments.device_first_position : arguments.first_position;
  const Angles turn = angles(arguments, first_position + own_token, first);
  device::wait_for_previous_kernel();
  for (std::uint32_t head = threadIdx.x / vectors; head < num_query_heads + num_kv_heads; head += kThreads / vectors) {
    const std::uint32_t column = head * head_dim + first;
    const Floats8 a = load_biased(row, arguments.bias, column);
    const Floats8 b = load_biased(row, arguments.bias, column + half);
    Floats8 low, high;
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) {
      low.values[i] = a.values[i] * turn.cosines.values[i] - b.values[i] * turn.sines.values[i];
      high.values[i] = b.values[i] * turn.cosines.values[i] + a.values[i] * turn.sines.values[i];
    }
    BFloat16* out = head < num_query_heads ? queries + head * head_dim : keys + (head - num_query_heads) * head_dim;
    store8(out + first, low);
    store8(out + first + half, high);
  }
  const std::uint32_t first_value = (num_query_heads + num_kv_heads) * head_dim;
  for (std::uint32_t i = threadIdx.x * kVector; i < num_kv_heads * head_dim; i += kThreads * kVector) {
    store8(values + i, load_biased(row, arguments.bias, first_value + i));
  }
}

}  // namespace

void launch_rope_append(const RopeAppend& arguments, cudaStream_t stream) {
  check_shape(arguments.head_dim == 64 || arguments.head_dim == 128, "rope_append: head_dim {}: 64 and 128 are built",
              arguments.head_dim);
  check_shape(arguments.num_query_heads > 0 && arguments.num_kv_heads > 0, "rope_append: {} query and {} KV heads",
              arguments.num_query_heads, arguments.num_kv_heads);
  if (arguments.num_tokens == 0) return;
  check_shape(arguments.qkv != nullptr && arguments.inverse_frequencies != nullptr && arguments.queries != nullptr &&
                  arguments.own_keys != nullptr && arguments.own_values != nullptr,
              "rope_append: a pointer is null");
  device::launch(rope_append_kernel,
                 {.grid = dim3(arguments.num_tokens), .block_threads = kThreads, .overlaps_previous = true}, stream,
                 arguments);
}

}  // namespace reprefill::kernels
