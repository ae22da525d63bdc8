#include "kernels/elementwise/elementwise.hpp"
#include "kernels/elementwise/vectors.cuh"

namespace reprefill::kernels {
namespace {

constexpr unsigned kThreads = 256;

/// Blocks for `num_vectors` vectors of eight, one a thread.
dim3 grid_for(std::uint64_t num_vectors) {
  return dim3(static_cast<unsigned>((num_vectors + kThreads - 1) / kThreads));
}

__device__ std::uint64_t vector_idx() { return std::uint64_t{blockIdx.x} * kThreads + threadIdx.x; }

__global__ void __launch_bounds__(kThreads) swiglu_kernel(SwiGlu arguments) {
  device::wait_for_previous_kernel();
  const std::uint32_t vectors_per_row = arguments.intermediate / kVector;
  const std::uint64_t idx = vector_idx();
  if (idx >= std::uint64_t{arguments.num_tokens} * vectors_per_row) return;
  const std::uint64_t row = idx / vectors_per_row, column = idx % vectors_per_row * kVector;
  const BFloat16* from = arguments.gate_up + row * 2 * arguments.intermediate + column;
  const Floats8 gate = load8(from), up = load8(from + arguments.intermediate);
  Floats8 out;
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) {
    const float x = gate.values[i];
    out.values[i] = x / (1.0f + expf(-x)) * up.values[i];
  }
  store8(arguments.out + row * arguments.intermediate + column, out);
}

__global__ void __launch_bounds__(kThreads) add_residual_kernel(AddResidual arguments) {
  const std::uint64_t first = vector_idx() * kVector;
  if (first >= arguments.count) return;
  Floats8 x = load8(arguments.x + first);
  const Floats8 delta = load8(arguments.delta + first);
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) x.values[i] += delta.values[i];
  store8(arguments.x + first, x);
}

__global__ void __launch_bounds__(kThreads) embedding_kernel(Embedding arguments) {
  const std::int32_t id = arguments.ids[blockIdx.x];
  const bool is_known = id >= 0 && static_cast<std::uint32_t>(id) < arguments.vocab;
  const auto* from = reinterpret_cast<const device::Packed8*>(
      arguments.table + (is_known ? static_cast<std::uint64_t>(id) : 0) * arguments.hidden);
  auto* to = reinterpret_cast<device::Packed8*>(arguments.out + std::uint64_t{blockIdx.x} * arguments.hidden);
  constexpr std::uint32_t kNanPair = 0x7fc07fc0u;
  for (std::uint32_t i = threadIdx.x; i < arguments.hidden / kVector; i += kThreads) {
    to[i] = is_known ? from[i] : device::Packed8{{kNanPair, kNanPair, kNanPair, kNanPair}};
  }
}

}  // namespace

void launch_swiglu(const SwiGlu& arguments, cudaStream_t stream) {
  check_shape(arguments.intermediate > 0 && arguments.intermediate % kVector == 0,
              "swiglu: intermediate {} is not a positive multiple of {}", arguments.intermediate, kVector);
  if (arguments.num_tokens == 0) return;
  check_shape(arguments.gate_up != nullptr && arguments.out != nullptr, "swiglu: a pointer is null");
  const std::uint64_t num_vectors = std::uint64_t{arguments.num_tokens} * (arguments.intermediate / kVector);
  device::launch(swiglu_kernel, {.grid = grid_for(num_vectors), .block_threads = kThreads, .overlaps_previous = true},
                 stream, arguments);
}

void launch_add_residual(const AddResidual& arguments, cudaStream_t stream) {
  check_shape(arguments.count % kVector == 0, "add_residual: count {} is not a multiple of {}", arguments.count,
              kVector);
  if (arguments.count == 0) return;
  check_shape(arguments.x != nullptr && arguments.delta != nullptr, "add_residual: a pointer is null");
  device::launch(add_residual_kernel, {.grid = grid_for(arguments.count / kVector), .block_threads = kThreads}, stream,
                 arguments);
}

void launch_embedding(const Embedding& arguments, cudaStream_t stream) {
  check_shape(arguments.hidden > 0 && arguments.hidden % kVector == 0,
              "embedding: hidden {} is not a positive multiple of {}", arguments.hidden, kVector);
  check_shape(arguments.vocab > 0, "embedding: the vocabulary is empty");
  if (arguments.num_tokens == 0) return;
  check_shape(arguments.ids != nullptr && arguments.table != nullptr && arguments.out != nullptr,
              "embedding: a pointer is null");
  device::launch(embedding_kernel, {.grid = dim3(arguments.num_tokens), .block_threads = kThreads}, stream, arguments);
}

}  // namespace reprefill::kernels
