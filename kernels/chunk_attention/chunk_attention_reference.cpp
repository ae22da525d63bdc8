#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/chunk_attention/chunk_attention.hpp"

namespace reprefill::kernels {
namespace {

double widen(BFloat16 value) { return static_cast<double>(value.widen()); }

/// A key that one KV head's queries see, and its value (null: zeros).
struct Seen {
  const BFloat16* key;
  const BFloat16* value;
};

std::vector<Seen> seen_of_prefix(const ChunkAttention& arguments, std::uint64_t kv_head) {
  const PagedKv& prefix = arguments.prefix;
  const PagedTokens& tokens = prefix.tokens;
  const std::uint32_t num_slots = tokens.device_num_slots != nullptr ? *tokens.device_num_slots : tokens.num_slots;
  const auto dim = static_cast<std::uint64_t>(arguments.head_dim);
  const auto keeps = [&](const std::uint8_t* mask, std::uint32_t slot) {
    return mask == nullptr || mask[kv_head * prefix.mask_stride + slot] != 0;
  };
  std::vector<Seen> seen;
  for (std::uint32_t slot = 0; slot < num_slots; ++slot) {
    const std::uint32_t page = slot / tokens.page_tokens, offset = slot % tokens.page_tokens;
    if (tokens.tokens_per_page != nullptr && offset >= tokens.tokens_per_page[page]) continue;
    if (!keeps(prefix.keep_k, slot)) continue;
    const std::uint64_t place = (offset * static_cast<std::uint64_t>(arguments.num_kv_heads) + kv_head) * dim;
    seen.push_back(
        {prefix.key_pages[page] + place, keeps(prefix.keep_v, slot) ? prefix.value_pages[page] + place : nullptr});
  }
  return seen;
}

void attend_row(const ChunkAttention& arguments, const std::vector<Seen>& seen, const BFloat16* query, BFloat16* out) {
  const auto dim = static_cast<std::size_t>(arguments.head_dim);
  std::vector<double> logits;
  double maximum = -std::numeric_limits<double>::infinity();
  for (const Seen& token : seen) {
    double dot = 0;
    for (std::size_t i = 0; i < dim; ++i) dot += widen(query[i]) * widen(token.key[i]);
    logits.push_back(dot * static_cast<double>(arguments.scale));
    maximum = std::max(maximum, logits.back());
  }
  double sum = 0;
  std::vector<double> total(dim, 0.0);
  for (std::size_t j = 0; j < seen.size(); ++j) {
    const double probability = std::exp(logits[j] - maximum);
    sum += probability;
    if (seen[j].value == nullptr) continue;
    for (std::size_t i = 0; i < dim; ++i) total[i] += probability * widen(seen[j].value[i]);
  }
  for (std::size_t i = 0; i < dim; ++i) out[i] = BFloat16::round(static_cast<float>(total[i] / sum));
}

}  // namespace

void chunk_attention_reference(const ChunkAttention& arguments) {
  const auto num_kv_heads = static_cast<std::uint64_t>(arguments.num_kv_heads);
  const auto num_query_heads = static_cast<std::uint64_t>(arguments.num_query_heads);
  const auto dim = static_cast<std::uint64_t>(arguments.head_dim);
  for (std::uint64_t head = 0; head < num_query_heads; ++head) {
    const std::uint64_t kv_head = head / (num_query_heads / num_kv_heads);
    std::vector<Seen> seen = seen_of_prefix(arguments, kv_head);
    std::uint64_t num_own = 0;
    for (std::uint64_t query = 0; query < arguments.num_queries; ++query) {
      for (; num_own <= arguments.first_query + query; ++num_own) {
        const std::uint64_t place = (num_own * num_kv_heads + kv_head) * dim;
        seen.push_back({arguments.own_keys + place, arguments.own_values + place});
      }
      const std::uint64_t place = (query * num_query_heads + head) * dim;
      attend_row(arguments, seen, arguments.queries + place, arguments.out + place);
    }
  }
}

}  // namespace reprefill::kernels
