// The kernels behind a C interface, for compare_with_torch.py: one process, one timer, the same memory.
#include <cmath>
#include <cstdio>
#include <exception>

#include "kernels/chunk_attention/chunk_attention.hpp"
#include "kernels/score_chunks/score_chunks.hpp"
#include "kernels/select_chunks/select_chunks.hpp"

namespace {

using namespace reprefill;
using namespace reprefill::kernels;

/// 0, or 1 with the reason on stderr.
template <typename Call>
int guarded(const Call& call) {
  try {
    call();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "reprefill_kernels_c: %s\n", error.what());
    return 1;
  }
}

}  // namespace

extern "C" {

struct AttentionShape {
  std::uint32_t num_queries, num_slots, page_tokens;
  std::int32_t num_query_heads, num_kv_heads, head_dim, num_splits;
};

static ChunkAttention attention_of(const AttentionShape* shape) {
  ChunkAttention a;
  a.prefix.tokens = {.page_tokens = shape->page_tokens, .num_slots = shape->num_slots};
  a.num_queries = shape->num_queries;
  a.num_query_heads = shape->num_query_heads;
  a.num_kv_heads = shape->num_kv_heads;
  a.head_dim = shape->head_dim;
  a.scale = 1 / std::sqrt(static_cast<float>(shape->head_dim));
  a.num_splits = shape->num_splits;
  return a;
}

std::uint64_t reprefill_attention_workspace(const AttentionShape* shape) {
  std::uint64_t bytes = 0;
  guarded([&] { bytes = chunk_attention_workspace_bytes(attention_of(shape)); });
  return bytes;
}

int reprefill_attention(const AttentionShape* shape, const void* queries, const void* key_pages,
                        const void* value_pages, const void* own_keys, const void* own_values, void* out,
                        void* workspace, std::uint64_t workspace_bytes, void* stream) {
  return guarded([&] {
    ChunkAttention a = attention_of(shape);
    a.queries = static_cast<const BFloat16*>(queries);
    a.prefix.key_pages = static_cast<const BFloat16* const*>(key_pages);
    a.prefix.value_pages = static_cast<const BFloat16* const*>(value_pages);
    a.own_keys = static_cast<const BFloat16*>(own_keys);
    a.own_values = static_cast<const BFloat16*>(own_values);
    a.out = static_cast<BFloat16*>(out);
    a.workspace = workspace;
    a.workspace_bytes = workspace_bytes;
    launch_chunk_attention(a, static_cast<cudaStream_t>(stream));
  });
}

int reprefill_select(const float* scores, std::uint32_t num_units, std::uint32_t k, std::uint32_t* indices,
                     std::uint32_t* num_chosen, std::uint32_t* errors, void* stream) {
  return guarded([&] {
    launch_select_chunks({.scores = scores,
                          .max_units = num_units,
                          .max_k = k,
                          .counts = {.num_units = num_units, .k = k},
                          .indices = indices,
                          .num_chosen = num_chosen,
                          .errors = errors},
                         static_cast<cudaStream_t>(stream));
  });
}

static ScoreChunks score_of(const AttentionShape* shape) {
  ScoreChunks a;
  a.prefix = {.tokens = {.page_tokens = shape->page_tokens, .num_slots = shape->num_slots},
              .num_heads = static_cast<std::uint32_t>(shape->num_kv_heads)};
  a.num_queries = shape->num_queries;
  a.num_query_heads = shape->num_query_heads;
  a.num_kv_heads = shape->num_kv_heads;
  a.head_dim = shape->head_dim;
  a.scale = 1 / std::sqrt(static_cast<float>(shape->head_dim));
  a.num_groups = shape->num_kv_heads;
  a.heads_per_group = shape->num_query_heads / shape->num_kv_heads;
  for (int head = 0; head < a.num_groups; ++head) {
    a.groups[head] = {.first_query_head = head * a.heads_per_group, .stored_head = head, .own_head = head};
  }
  a.sum_groups = true;
  a.token_stride = shape->num_slots;
  a.chunk_stride = a.prefix.tokens.num_pages();
  a.num_splits = shape->num_splits;
  return a;
}

std::uint64_t reprefill_score_workspace(const AttentionShape* shape) {
  std::uint64_t bytes = 0;
  guarded([&] { bytes = score_chunks_workspace_bytes(score_of(shape)); });
  return bytes;
}

/// token_scores [num_kv_heads][num_slots], chunk_scores [pages]; the workspace zeroed once.
int reprefill_score(const AttentionShape* shape, const void* queries, const void* key_pages, const void* own_keys,
                    float* token_scores, float* chunk_scores, void* workspace, std::uint64_t workspace_bytes,
                    void* stream) {
  return guarded([&] {
    ScoreChunks a = score_of(shape);
    a.queries = static_cast<const BFloat16*>(queries);
    a.prefix.pages = static_cast<const BFloat16* const*>(key_pages);
    a.own_keys = static_cast<const BFloat16*>(own_keys);
    a.token_scores = token_scores;
    a.chunk_scores = chunk_scores;
    a.workspace = workspace;
    a.workspace_bytes = workspace_bytes;
    launch_score_chunks(a, static_cast<cudaStream_t>(stream));
  });
}

}  // extern "C"
