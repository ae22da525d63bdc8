// Attention mass of chunks as their digests tell it: for scorers that read less than all keys.
#pragma once

#include <span>
#include <vector>

#include "core/base/kv_view.hpp"
#include "engine/digest/key_digests.hpp"
#include "engine/executor/cpu/worker_pool.hpp"

namespace reprefill::engine {

/// Own tokens of one layer in host memory: queries [count][num_query_heads][head_dim] with RoPE, not scaled; keys
/// [count][num_kv_heads][head_dim].
struct OwnRows {
  const float* queries = nullptr;
  std::vector<float> keys;
  std::uint32_t count = 0;
  int num_query_heads = 1;
};

/// out: [num_kv_heads][digests.num_tokens / chunk_tokens]. Per query head and own token a softmax over what the digest
/// says of the prefix and over the causal own keys, summed over own tokens and the KV head's query heads:
///   mean     every token of a chunk counts as its mean key
///   minmax   every token counts as the largest logit that the chunk's values allow, an upper bound (Quest, Tang et al.
///            2024, section 3.2)
///   int4     tokens count as their keys in 4 bits, and are summed by chunk
/// Pages hold digests of whole chunks from a segment's first token on. Sums in fp32 over a head's dimensions and in
/// double over tokens, in ascending order; no bit depends on threads.
void score_digests(WorkerPool& pool, const DigestShape& shape, const KeyView& digests, const OwnRows& own, float scale,
                   std::span<double> out);

}  // namespace reprefill::engine
