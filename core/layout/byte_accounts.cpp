#include "core/layout/byte_accounts.hpp"

#include <cmath>

namespace reprefill::layout {
namespace {

std::uint64_t layers_of(const ModelGeometry& geometry) { return static_cast<std::uint64_t>(geometry.num_layers); }

/// K of one token in all layers: k L.
Bytes keys_per_token(const ModelGeometry& geometry) {
  return geometry.kv_tensor_bytes_per_token_layer() * layers_of(geometry);
}

}  // namespace

Bytes attention_store_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens) {
  return 2 * prefix_tokens * keys_per_token(geometry);
}

Bytes as_h2o_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens, std::uint64_t touched_tokens) {
  return (prefix_tokens + touched_tokens) * keys_per_token(geometry);
}

Bytes impress_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens, std::uint64_t touched_tokens,
                    std::span<const int> probe_heads, int fallback_layers) {
  const auto probed = static_cast<std::uint64_t>(geometry.num_probed_kv_heads(probe_heads));
  const auto full_layers = static_cast<std::uint64_t>(fallback_layers);
  const auto head_bytes = static_cast<std::uint64_t>(geometry.head_dim) * geometry.kv_element_bytes;
  const Bytes probe_keys{probed * head_bytes * prefix_tokens * layers_of(geometry)};
  const std::uint64_t token_layers = touched_tokens * (layers_of(geometry) - full_layers) + prefix_tokens * full_layers;
  return probe_keys + 2 * token_layers * geometry.kv_tensor_bytes_per_token_layer();
}

ContiguousKvBytes contiguous_kv_bytes(const ModelGeometry& geometry, std::uint64_t prefix_tokens,
                                      const ContiguousKvShape& shape) {
  const Bytes k = geometry.kv_tensor_bytes_per_token_layer();
  const std::uint64_t periods =
      divide_rounding_up(layers_of(geometry), static_cast<std::uint64_t>(shape.period_layers));
  const std::uint64_t chunks = divide_rounding_up(prefix_tokens, shape.chunk_tokens);
  const std::uint64_t chosen_tokens = shape.budget.ceil_of(chunks) * shape.chunk_tokens;
  const std::uint64_t reused_layers = shape.leader_keys == LeaderKeyReads::reuse ? periods : 0;
  return {.identification = prefix_tokens * periods * k,
          .payload = chosen_tokens * (2 * layers_of(geometry) - reused_layers) * k};
}

double scattered_share(Budget budget, std::uint32_t block_tokens) {
  return 1 - std::pow(1 - budget.as_double(), block_tokens);
}

}  // namespace reprefill::layout
