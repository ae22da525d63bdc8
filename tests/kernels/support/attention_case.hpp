// A case of attention: random inputs, what the kernel gives and what the reference gives.
#pragma once

#include <cmath>
#include <optional>

#include "kernels/chunk_attention/chunk_attention.hpp"
#include "tests/kernels/support/paged_case.hpp"

namespace reprefill::kernels::test {

struct AttentionSpec {
  std::uint32_t num_queries = 16;
  std::uint32_t num_slots = 64;
  std::uint32_t page_tokens = 16;
  int num_query_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 128;
  std::uint32_t first_query = 0;
  bool is_ragged = false;
  bool has_keep_k = false;
  bool has_keep_v = false;
  int num_splits = 0;
  std::uint64_t seed = 1;
};

class AttentionCase {
 public:
  explicit AttentionCase(const AttentionSpec& spec)
      : spec_(spec),
        paged_{.page_tokens = spec.page_tokens,
               .num_slots = spec.num_slots,
               .is_ragged = spec.is_ragged,
               .num_heads = static_cast<std::uint32_t>(spec.num_kv_heads),
               .head_dim = static_cast<std::uint32_t>(spec.head_dim),
               .seed = spec.seed},
        tokens_per_page(page_sizes(paged_)),
        keys(paged_, "keys", tokens_per_page),
        values(paged_, "values", tokens_per_page) {
    const std::size_t kv_size = static_cast<std::size_t>(spec.num_kv_heads * spec.head_dim);
    queries = random_bf16(spec.seed, "queries", spec.num_queries * row_size(), 1.5);
    own_keys = random_bf16(spec.seed, "own keys", (spec.first_query + spec.num_queries) * kv_size);
    own_values = random_bf16(spec.seed, "own values", (spec.first_query + spec.num_queries) * kv_size);
    RandomStream random(spec.seed, 0, "masks");
    const std::size_t mask_size = static_cast<std::size_t>(spec.num_kv_heads) * spec.num_slots;
    for (std::size_t i = 0; spec.has_keep_k && i < mask_size; ++i) keep_k.push_back(random.below(3) != 0);
    for (std::size_t i = 0; spec.has_keep_v && i < mask_size; ++i) keep_v.push_back(random.below(2) != 0);
  }

  std::size_t row_size() const { return static_cast<std::size_t>(spec_.num_query_heads * spec_.head_dim); }

  std::vector<BFloat16> expected() const {
    std::vector<BFloat16> out(queries.size());
    ChunkAttention arguments = shapes();
    arguments.queries = queries.data();
    arguments.own_keys = own_keys.data();
    arguments.own_values = own_values.data();
    arguments.prefix.key_pages = keys.host();
    arguments.prefix.value_pages = values.host();
    if (spec_.is_ragged) arguments.prefix.tokens.tokens_per_page = tokens_per_page.data();
    if (spec_.has_keep_k) arguments.prefix.keep_k = keep_k.data();
    if (spec_.has_keep_v) arguments.prefix.keep_v = keep_v.data();
    arguments.out = out.data();
    chunk_attention_reference(arguments);
    return out;
  }

  /// `change` is applied to the arguments of the launch.
  std::vector<BFloat16> found(const std::function<void(ChunkAttention&)>& change = {}) const {
    const DeviceArray<BFloat16> device_queries(queries), device_own_keys(own_keys), device_own_values(own_values);
    const DeviceArray<std::uint32_t> device_tokens(tokens_per_page);
    const DeviceArray<std::uint8_t> device_keep_k(keep_k), device_keep_v(keep_v);
    const auto out = DeviceArray<BFloat16>::poisoned(queries.size());
    ChunkAttention arguments = shapes();
    arguments.queries = device_queries.get();
    arguments.own_keys = device_own_keys.get();
    arguments.own_values = device_own_values.get();
    arguments.prefix.key_pages = keys.device();
    arguments.prefix.value_pages = values.device();
    if (spec_.is_ragged) arguments.prefix.tokens.tokens_per_page = device_tokens.get();
    if (spec_.has_keep_k) arguments.prefix.keep_k = device_keep_k.get();
    if (spec_.has_keep_v) arguments.prefix.keep_v = device_keep_v.get();
    arguments.out = out.get();
    if (change) change(arguments);
    const auto workspace = DeviceArray<std::byte>::poisoned(chunk_attention_workspace_bytes(arguments));
    arguments.workspace = workspace.get();
    arguments.workspace_bytes = workspace.size();
    launch_chunk_attention(arguments, nullptr);
    synchronize();
    return out.read();
  }

  double error(const std::function<void(ChunkAttention&)>& change = {}) const {
    return worst_row_error(found(change), expected(), static_cast<std::size_t>(spec_.head_dim));
  }

 private:
  AttentionSpec spec_;
  PagedSpec paged_;

 public:
  std::vector<std::uint32_t> tokens_per_page;
  PagedRows keys, values;
  std::vector<BFloat16> queries, own_keys, own_values;
  std::vector<std::uint8_t> keep_k, keep_v;

 private:
  ChunkAttention shapes() const {
    ChunkAttention arguments;
    arguments.prefix.tokens = {.page_tokens = spec_.page_tokens, .num_slots = spec_.num_slots};
    arguments.prefix.mask_stride = spec_.num_slots;
    arguments.num_queries = spec_.num_queries;
    arguments.first_query = spec_.first_query;
    arguments.num_query_heads = spec_.num_query_heads;
    arguments.num_kv_heads = spec_.num_kv_heads;
    arguments.head_dim = spec_.head_dim;
    arguments.scale = 1 / std::sqrt(static_cast<float>(spec_.head_dim));
    arguments.num_splits = spec_.num_splits;
    arguments.instructions = tested_instructions;
    return arguments;
  }
};

}  // namespace reprefill::kernels::test
