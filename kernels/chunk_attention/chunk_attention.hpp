// Attention of a request's own tokens over selected chunks of the stored prefix and, causally, over its own tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/instructions.hpp"
#include "kernels/base/paged.hpp"
#include "kernels/base/stream.hpp"

namespace reprefill::kernels {

inline constexpr std::uint32_t kMaxQueries = 2048;

/// All pointers are device memory, aligned to 16 bytes. RoPE is applied to queries and keys.
struct ChunkAttention {
  /// Own tokens [first_query, first_query + num_queries): [num_queries][num_query_heads][head_dim].
  const BFloat16* queries = nullptr;
  PagedKv prefix;
  /// Own tokens from 0 on, at least first_query + num_queries of them: [tokens][num_kv_heads][head_dim].
  const BFloat16* own_keys = nullptr;
  const BFloat16* own_values = nullptr;
  BFloat16* out = nullptr;        // [num_queries][num_query_heads][head_dim]
  std::uint32_t num_queries = 0;  // at most kMaxQueries
  std::uint32_t first_query = 0;
  int num_query_heads = 0;  // 1 to 16 times num_kv_heads; query head h reads KV head h / (query heads / KV heads)
  int num_kv_heads = 0;
  int head_dim = 0;  // 64 or 128
  float scale = 0;   // of the logits, 1/sqrt(head_dim); positive

  /// Null where chunk_attention_workspace_bytes is 0. Its contents do not matter.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  /// Blocks that share the keys of one group of rows; 0: chosen from the shape and the device.
  int num_splits = 0;
  Instructions instructions = Instructions::automatic;
};

inline constexpr int kMaxSplits = 64;

/// What launch_chunk_attention needs on the current device; depends on shapes (num_slots, not its device copy), not on
/// pointers.
std::size_t chunk_attention_workspace_bytes(const ChunkAttention& arguments);

/// out = softmax(scale * q k^T) v over the kept tokens of `prefix` and own tokens up to each query's own. Logits and
/// sums are fp32, probabilities are rounded to bf16 before they are multiplied with values. Bit-identical from run to
/// run for the same arguments on the same device. A NaN or +inf logit makes its row NaN. A value that is not finite
/// makes NaN of its element in every row that weighs it with zero: also in rows of the same tile before an own token.
/// Asynchronous on `stream`: one launch, or two where the keys are split. num_queries == 0 is a no-op. Throws
/// ShapeError (sizes outside the contract, null pointers, too small a workspace), CudaError. Source: Dao 2023,
/// "FlashAttention-2"; the split along keys is that of Flash-Decoding (Dao et al. 2023). Does 4 * num_queries *
/// num_query_heads * head_dim FLOPs a key. Reference: chunk_attention_reference.
void launch_chunk_attention(const ChunkAttention& arguments, cudaStream_t stream);

/// The same on host pointers, in double; no probabilities are rounded.
void chunk_attention_reference(const ChunkAttention& arguments);

}  // namespace reprefill::kernels
