#include "core/model/costs.hpp"

namespace reprefill {
namespace {

constexpr std::uint64_t kScoreBytes = 4;  // fp32 (design 4)

double as_double(std::uint64_t value) { return static_cast<double>(value); }

/// Keys that the own tokens see of each other: `before` each, and the causal triangle.
double causal_pairs(std::uint64_t queries, std::uint64_t before) {
  return as_double(queries) * as_double(before) + as_double(queries) * (as_double(queries) + 1) / 2;
}

}  // namespace

OperationCost OperationCosts::project(std::uint64_t queries) const {
  const auto h = static_cast<std::uint64_t>(g_.hidden);
  const auto out = static_cast<std::uint64_t>(g_.num_query_heads + 2 * g_.num_kv_heads) * g_.head_dim;
  const auto element = static_cast<std::uint64_t>(g_.weight_element_bytes);
  const auto activation = static_cast<std::uint64_t>(g_.activation_element_bytes());
  return {.flops = 2.0 * as_double(queries) * as_double(h) * as_double(out),
          .bytes_moved = Bytes{element * (h * out + out + h) + activation * queries * (h + out)}};
}

OperationCost OperationCosts::attend_linear(std::uint64_t queries) const {
  const auto h = static_cast<std::uint64_t>(g_.hidden);
  const auto q = static_cast<std::uint64_t>(g_.num_query_heads) * g_.head_dim;
  const auto f = static_cast<std::uint64_t>(g_.intermediate);
  const auto element = static_cast<std::uint64_t>(g_.weight_element_bytes);
  const auto activation = static_cast<std::uint64_t>(g_.activation_element_bytes());
  const auto mlp = static_cast<std::uint64_t>(g_.mlp_matrices);
  const std::uint64_t weights = q * h + mlp * h * f + h;
  return {.flops = 2.0 * as_double(queries) * as_double(q * h + mlp * h * f),
          .bytes_moved = Bytes{element * weights + activation * queries * (q + 4 * h + mlp * f)}};
}

OperationCost OperationCosts::attend_attention(std::uint64_t queries, std::uint64_t own_before, std::uint64_t k_tokens,
                                               std::uint64_t v_tokens) const {
  const double head_flops = 2.0 * g_.num_query_heads * g_.head_dim;
  const double own = causal_pairs(queries, own_before);
  const std::uint64_t kv_tokens = k_tokens + v_tokens + 2 * (own_before + queries);
  const auto q_bytes = static_cast<std::uint64_t>(g_.num_query_heads) * g_.head_dim * g_.activation_element_bytes();
  return {.flops = head_flops * (as_double(queries) * as_double(k_tokens + v_tokens) + 2 * own),
          .bytes_moved = kv_tokens * g_.kv_tensor_bytes_per_token_layer() + Bytes{2 * queries * q_bytes}};
}

OperationCost OperationCosts::score(std::uint64_t queries, std::uint64_t prefix_tokens, int query_heads,
                                    int kv_heads) const {
  const double pairs = 2 * as_double(queries) * as_double(prefix_tokens) + causal_pairs(queries, 0);
  const auto key_bytes = static_cast<std::uint64_t>(kv_heads) * g_.head_dim * g_.kv_element_bytes;
  const auto query_bytes = static_cast<std::uint64_t>(query_heads) * g_.head_dim * g_.activation_element_bytes();
  const std::uint64_t score_bytes = prefix_tokens * static_cast<std::uint64_t>(kv_heads) * kScoreBytes;
  return {.flops = 2.0 * query_heads * g_.head_dim * pairs,
          .bytes_moved = Bytes{(2 * prefix_tokens + queries) * key_bytes + 2 * queries * query_bytes + score_bytes}};
}

OperationCost OperationCosts::select(std::uint64_t candidates, std::uint64_t chosen) const {
  return {.flops = 0, .bytes_moved = Bytes{5 * candidates * kScoreBytes + chosen * sizeof(std::uint32_t)}};
}

OperationCost OperationCosts::gather(Bytes pieces) const { return {.flops = 0, .bytes_moved = pieces}; }

OperationCost OperationCosts::first_token() const {
  const std::uint64_t norm_and_input = 2 * static_cast<std::uint64_t>(g_.hidden) * g_.activation_element_bytes();
  const std::uint64_t logits = static_cast<std::uint64_t>(g_.vocab) * sizeof(float);
  return {.flops = 2.0 * g_.hidden * g_.vocab, .bytes_moved = g_.lm_head_bytes() + Bytes{norm_and_input + 2 * logits}};
}

}  // namespace reprefill
