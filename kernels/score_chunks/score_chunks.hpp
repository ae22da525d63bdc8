// The attention mass that chunks of the stored prefix receive from a request's own tokens: what systems select by.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/instructions.hpp"
#include "kernels/base/paged.hpp"
#include "kernels/base/stream.hpp"

namespace reprefill::kernels {

/// Query heads [first_query_head, + heads_per_group) that read one KV head.
struct ScoreGroup {
  int first_query_head = 0;
  int stored_head = 0;  // place of the KV head in the pages
  int own_head = 0;     // and among own tokens' KV heads
};

inline constexpr int kMaxScoreGroups = 64;

/// All pointers are device memory, aligned to 16 bytes. RoPE is applied to queries and keys.
///   scores summed over all heads   a group per KV head, sum_groups
///   scores per KV head             a group per KV head
///   scores of probe heads          a group per probe head, heads_per_group 1, pages that hold only their KV heads
struct ScoreChunks {
  /// Own tokens [first_query, first_query + num_queries): [num_queries][num_query_heads][head_dim].
  const BFloat16* queries = nullptr;
  PagedKeys prefix;                                   // one page is one chunk
  const BFloat16* own_keys = nullptr;                 // [own tokens from 0 on][num_kv_heads][head_dim]
  std::uint32_t num_queries = 0;                      // at most 2048
  const std::uint32_t* device_num_queries = nullptr;  // read when the kernel runs, in place of num_queries
  std::uint32_t first_query = 0;
  int num_query_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;  // 64 or 128
  float scale = 0;   // of the logits, 1/sqrt(head_dim); positive

  ScoreGroup groups[kMaxScoreGroups] = {};
  int num_groups = 0;
  int heads_per_group = 1;  // 1 to 16

  bool accumulate = false;         // adds to token_scores: a suffix that is processed in blocks
  bool sum_groups = false;         // chunk_scores are summed over groups
  float* token_scores = nullptr;   // [num_groups][token_stride], by slot; 0 in slots that hold no token
  std::uint32_t token_stride = 0;  // at least num_slots
  float* chunk_scores = nullptr;   // [sum_groups ? 1 : num_groups][chunk_stride], by page
  std::uint32_t chunk_stride = 0;  // at least the number of pages

  /// Zeroed once before its first use; every launch leaves it usable for the next, of any shape that it is large enough
  /// for. An aborted launch does not: zero it again.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  int num_splits = 0;  // blocks that share the keys of one group of rows in the first pass; 0: chosen
  Instructions instructions = Instructions::automatic;
};

std::size_t score_chunks_workspace_bytes(const ScoreChunks& arguments);

/// token_scores = sum, over the own tokens and a group's query heads, of softmax(scale * q k^T) over the prefix and the
/// causal own keys; prefix columns only. chunk_scores = their sum over each page's tokens, and over groups where asked.
/// Two passes over the keys, the first for the softmax's maximum and denominator, the second for the sums: no matrix of
/// scores is in memory. No float atomics: bit-identical from run to run. NaN in a row's logits reaches every score that
/// the row adds to (select_chunks reports it).
/// Asynchronous on `stream`; three launches. Throws ShapeError, CudaError.
/// Does 2 * 2 * num_queries * query heads * head_dim FLOPs a key. Reference: score_chunks_reference.
void launch_score_chunks(const ScoreChunks& arguments, cudaStream_t stream);

/// The same on host pointers, in double.
void score_chunks_reference(const ScoreChunks& arguments);

}  // namespace reprefill::kernels
