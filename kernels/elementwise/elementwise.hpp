// What a decoder layer does between its matrix products: norms, rotary embedding, activation, embedding, argmax.
// Inputs and outputs are bf16, arithmetic is fp32. Every launcher is asynchronous on `stream`, allocates nothing, does
// nothing for zero tokens, and throws ShapeError (null pointers, sizes outside the contract) or CudaError. Pointers are
// device memory, aligned to 16 bytes. The references take host pointers and compute in double.
#pragma once

#include <cstdint>

#include "core/base/bfloat16.hpp"
#include "kernels/base/stream.hpp"

namespace reprefill::kernels {

// Norms, RoPE and SwiGLU start while the kernel before them in the stream ends, where the device can do that. What does
// not change from launch to launch (weights, frequencies) is read before that kernel's results are there.

/// out = x * weight / sqrt(mean(x^2, over hidden) + eps), row by row; may run in place (out == x). With `delta`, first
/// x += delta, rounded to bf16 and written back, as Hugging Face transformers adds residuals.
/// Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"; eps from the model's config.json.
struct RmsNorm {
  BFloat16* x = nullptr;             // [num_tokens][hidden]; written only with delta
  const BFloat16* delta = nullptr;   // the same shape, or null
  const BFloat16* weight = nullptr;  // [hidden]
  BFloat16* out = nullptr;           // [num_tokens][hidden]; not x where there is a delta
  std::uint32_t num_tokens = 0;
  std::uint32_t hidden = 0;  // a multiple of 8, at most 32768
  float eps = 1e-6f;
};
void launch_rmsnorm(const RmsNorm& arguments, cudaStream_t stream);
void rmsnorm_reference(const RmsNorm& arguments);

/// Adds the biases, rotates queries and keys (rotate-half, engine/executor/rope.hpp) and appends keys and values to
/// the request's own KV. Own token i stands at position first_position + i; these are [first_own_token, + num_tokens).
struct RopeAppend {
  const BFloat16* qkv = nullptr;   // [num_tokens][(num_query_heads + 2 num_kv_heads) * head_dim]: Q, then K, then V
  const BFloat16* bias = nullptr;  // one row of qkv, or null
  const float* inverse_frequencies = nullptr;  // [head_dim / 2]
  float attention_scaling = 1;                 // cosines and sines are multiplied by it (YaRN)
  BFloat16* queries = nullptr;                 // [num_tokens][num_query_heads][head_dim]
  BFloat16* own_keys = nullptr;                // [own tokens][num_kv_heads][head_dim], rows from first_own_token on
  BFloat16* own_values = nullptr;
  std::uint32_t num_tokens = 0;
  std::uint32_t first_own_token = 0;
  std::uint32_t first_position = 0;
  const std::uint32_t* device_first_position = nullptr;  // read when the kernel runs, in place of first_position
  int num_query_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;  // 64 or 128
};
void launch_rope_append(const RopeAppend& arguments, cudaStream_t stream);
void rope_append_reference(const RopeAppend& arguments);

/// out = gate / (1 + exp(-gate)) * up. Source: Shazeer 2020, "GLU Variants Improve Transformer".
struct SwiGlu {
  const BFloat16* gate_up = nullptr;  // [num_tokens][2 * intermediate]: gate, then up
  BFloat16* out = nullptr;            // [num_tokens][intermediate]
  std::uint32_t num_tokens = 0;
  std::uint32_t intermediate = 0;  // a multiple of 8
};
void launch_swiglu(const SwiGlu& arguments, cudaStream_t stream);
void swiglu_reference(const SwiGlu& arguments);

/// x += delta, rounded to bf16.
struct AddResidual {
  BFloat16* x = nullptr;  // [count]
  const BFloat16* delta = nullptr;
  std::uint64_t count = 0;  // a multiple of 8
};
void launch_add_residual(const AddResidual& arguments, cudaStream_t stream);
void add_residual_reference(const AddResidual& arguments);

/// out[i] = table[ids[i]]. An id outside the vocabulary gives a row of NaN: it cannot be reported from here, and must
/// not read elsewhere.
struct Embedding {
  const std::int32_t* ids = nullptr;  // [num_tokens]
  const BFloat16* table = nullptr;    // [vocab][hidden]
  BFloat16* out = nullptr;            // [num_tokens][hidden]
  std::uint32_t num_tokens = 0;
  std::uint32_t vocab = 0;
  std::uint32_t hidden = 0;  // a multiple of 8
};
void launch_embedding(const Embedding& arguments, cudaStream_t stream);
void embedding_reference(const Embedding& arguments);

/// The highest logit's index; ties go to the lower one; -1 where a logit is NaN.
struct Argmax {
  const float* logits = nullptr;       // [count]
  std::uint32_t count = 0;             // at least 1
  std::int32_t* id = nullptr;          // [1], device or pinned host memory
  std::uint64_t* workspace = nullptr;  // [kArgmaxWorkspace], zeroed once before the first launch; left zeroed
};
inline constexpr std::uint32_t kArgmaxBlocks = 64;
inline constexpr std::uint32_t kArgmaxWorkspace = kArgmaxBlocks + 1;
void launch_argmax(const Argmax& arguments, cudaStream_t stream);
void argmax_reference(const Argmax& arguments);

}  // namespace reprefill::kernels
