#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/score_chunks/score_chunks.hpp"

namespace reprefill::kernels {
namespace {

double dot(const BFloat16* a, const BFloat16* b, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<double>(a[i].widen()) * static_cast<double>(b[i].widen());
  return sum;
}

struct Stored {
  std::uint32_t slot;
  const BFloat16* key;
};

std::vector<Stored> stored_keys(const ScoreChunks& arguments, const ScoreGroup& group, std::uint32_t num_slots) {
  const PagedTokens& tokens = arguments.prefix.tokens;
  std::vector<Stored> stored;
  for (std::uint32_t slot = 0; slot < num_slots; ++slot) {
    const std::uint32_t page = slot / tokens.page_tokens, offset = slot % tokens.page_tokens;
    if (tokens.tokens_per_page != nullptr && offset >= tokens.tokens_per_page[page]) continue;
    const std::uint64_t row =
        std::uint64_t{offset} * arguments.prefix.num_heads + static_cast<std::uint64_t>(group.stored_head);
    stored.push_back({slot, arguments.prefix.pages[page] + row * static_cast<std::uint64_t>(arguments.head_dim)});
  }
  return stored;
}

/// Adds one row's probabilities to the sums of the stored keys.
void add_row(const ScoreChunks& arguments, const ScoreGroup& group, const std::vector<Stored>& stored,
             std::uint64_t query, std::uint64_t head, std::vector<double>& sums) {
  const auto dim = static_cast<std::uint64_t>(arguments.head_dim);
  const BFloat16* row =
      arguments.queries + (query * static_cast<std::uint64_t>(arguments.num_query_heads) + head) * dim;
  const auto scale = static_cast<double>(arguments.scale);
  std::vector<double> logits;
  for (const Stored& key : stored) logits.push_back(scale * dot(row, key.key, arguments.head_dim));
  for (std::uint64_t own = 0; own <= arguments.first_query + query; ++own) {
    const std::uint64_t place =
        own * static_cast<std::uint64_t>(arguments.num_kv_heads) + static_cast<std::uint64_t>(group.own_head);
    logits.push_back(scale * dot(row, arguments.own_keys + place * dim, arguments.head_dim));
  }
  const double maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& logit : logits) sum += logit = std::exp(logit - maximum);
  for (std::size_t i = 0; i < stored.size(); ++i) sums[stored[i].slot] += logits[i] / sum;
}

}  // namespace

void score_chunks_reference(const ScoreChunks& arguments) {
  const PagedTokens& tokens = arguments.prefix.tokens;
  const std::uint32_t num_slots = tokens.device_num_slots != nullptr ? *tokens.device_num_slots : tokens.num_slots;
  const std::uint32_t num_queries =
      arguments.device_num_queries != nullptr ? *arguments.device_num_queries : arguments.num_queries;
  const std::uint32_t num_pages = (num_slots + tokens.page_tokens - 1) / tokens.page_tokens;
  std::vector<std::vector<double>> chunks(static_cast<std::size_t>(arguments.num_groups),
                                          std::vector<double>(num_pages, 0.0));
  for (int g = 0; g < arguments.num_groups; ++g) {
    const ScoreGroup& group = arguments.groups[g];
    float* scores = arguments.token_scores + static_cast<std::uint64_t>(g) * arguments.token_stride;
    const std::vector<Stored> stored = stored_keys(arguments, group, num_slots);
    std::vector<double> sums(num_slots, 0.0);
    for (std::uint64_t query = 0; query < num_queries; ++query) {
      for (int head = 0; head < arguments.heads_per_group; ++head) {
        add_row(arguments, group, stored, query, static_cast<std::uint64_t>(group.first_query_head + head), sums);
      }
    }
    for (const Stored& key : stored) {
      if (arguments.accumulate) sums[key.slot] += static_cast<double>(scores[key.slot]);
    }
    auto& totals = chunks[arguments.sum_groups ? 0 : static_cast<std::size_t>(g)];
    for (std::uint32_t slot = 0; slot < num_slots; ++slot) {
      scores[slot] = static_cast<float>(sums[slot]);
      totals[slot / tokens.page_tokens] += sums[slot];
    }
  }
  for (std::size_t g = 0; g < (arguments.sum_groups ? 1 : chunks.size()); ++g) {
    for (std::uint32_t page = 0; page < num_pages; ++page) {
      arguments.chunk_scores[g * arguments.chunk_stride + page] = static_cast<float>(chunks[g][page]);
    }
  }
}

}  // namespace reprefill::kernels
