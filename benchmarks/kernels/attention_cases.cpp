#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <numeric>

#include "benchmarks/kernels/cases.hpp"
#include "core/base/random.hpp"
#include "kernels/chunk_attention/chunk_attention.hpp"
#include "kernels/score_chunks/score_chunks.hpp"

namespace reprefill::benchmarks {
namespace {

constexpr int kQueryHeads = 28, kKvHeads = 4, kHeadDim = 128;
constexpr std::uint32_t kPageTokens = 16;
constexpr std::size_t kKvSize = std::size_t{kKvHeads} * kHeadDim, kRowSize = std::size_t{kQueryHeads} * kHeadDim;

/// Pages of one buffer in random order.
Buffer random_pages(const Buffer& memory, std::uint32_t num_pages, std::uint64_t seed) {
  std::vector<std::size_t> order(num_pages);
  std::iota(order.begin(), order.end(), std::size_t{0});
  RandomStream random(seed, 0, "pages");
  for (std::size_t i = num_pages; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  std::vector<const BFloat16*> pages;
  for (const std::size_t place : order) pages.push_back(memory.as<BFloat16>() + place * kPageTokens * kKvSize);
  return upload<const BFloat16*>(pages);
}

/// One set of buffers. The suffix lies beside the prefix, as in the executor.
struct Set {
  Set(std::uint32_t num_queries, std::uint32_t num_slots, std::uint64_t seed)
      : queries(num_queries * kRowSize * 2),
        keys(std::size_t{num_slots} * kKvSize * 2),
        values(std::size_t{num_slots} * kKvSize * 2),
        own_keys(num_queries * kKvSize * 2),
        own_values(num_queries * kKvSize * 2),
        out(num_queries * kRowSize * 2),
        key_pages(random_pages(keys, num_slots / kPageTokens, 2 * seed)),
        value_pages(random_pages(values, num_slots / kPageTokens, 2 * seed + 1)) {}
  Buffer queries, keys, values, own_keys, own_values, out, key_pages, value_pages;
};

std::vector<std::unique_ptr<Set>> make_sets(std::uint32_t num_queries, std::uint32_t num_slots) {
  const std::size_t bytes = (num_slots + num_queries) * 2 * kKvSize * 2 + 2 * num_queries * kRowSize * 2;
  std::vector<std::unique_ptr<Set>> sets;
  for (std::size_t i = 0; i < num_sets_for(bytes); ++i)
    sets.push_back(std::make_unique<Set>(num_queries, num_slots, i));
  return sets;
}

/// num_splits 0: as the launcher chooses.
void time_attention_case(GraphTimer& timer, const std::vector<std::unique_ptr<Set>>& sets, std::uint32_t num_queries,
                         std::uint32_t num_slots, int num_splits) {
  kernels::ChunkAttention arguments;
  arguments.prefix.tokens = {.page_tokens = kPageTokens, .num_slots = num_slots};
  arguments.num_queries = num_queries;
  arguments.num_query_heads = kQueryHeads;
  arguments.num_kv_heads = kKvHeads;
  arguments.head_dim = kHeadDim;
  arguments.scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
  arguments.num_splits = num_splits;
  const Buffer workspace(kernels::chunk_attention_workspace_bytes(arguments));
  arguments.workspace = workspace.as<void>();
  arguments.workspace_bytes = workspace.num_bytes();
  const Timing timing = timer.time(sets.size(), [&](std::size_t i, cudaStream_t stream) {
    const Set& set = *sets[i];
    arguments.queries = set.queries.as<BFloat16>();
    arguments.prefix.key_pages = set.key_pages.as<const BFloat16*>();
    arguments.prefix.value_pages = set.value_pages.as<const BFloat16*>();
    arguments.own_keys = set.own_keys.as<BFloat16>();
    arguments.own_values = set.own_values.as<BFloat16>();
    arguments.out = set.out.as<BFloat16>();
    kernels::launch_chunk_attention(arguments, stream);
  });
  const double pairs = num_queries * (static_cast<double>(num_slots) + (num_queries + 1) / 2.0);
  print_row(num_splits == 0 ? "chunk_attention" : fmt::format("chunk_attention, {} splits", num_splits),
            fmt::format("{} queries x {} stored", num_queries, num_slots), timing,
            {.bytes = static_cast<double>((num_slots + num_queries) * 2 * kKvSize * 2 + 2 * num_queries * kRowSize * 2),
             .flops = 4 * pairs * kRowSize});
}

void time_score_case(GraphTimer& timer, std::uint32_t num_queries, std::uint32_t num_slots) {
  const auto sets = make_sets(num_queries, num_slots);
  kernels::ScoreChunks arguments;
  arguments.prefix = {.tokens = {.page_tokens = kPageTokens, .num_slots = num_slots}, .num_heads = kKvHeads};
  arguments.num_queries = num_queries;
  arguments.num_query_heads = kQueryHeads;
  arguments.num_kv_heads = kKvHeads;
  arguments.head_dim = kHeadDim;
  arguments.scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
  arguments.num_groups = kKvHeads;
  arguments.heads_per_group = kQueryHeads / kKvHeads;
  for (int head = 0; head < kKvHeads; ++head) {
    arguments.groups[head] = {
        .first_query_head = head * arguments.heads_per_group, .stored_head = head, .own_head = head};
  }
  arguments.sum_groups = true;
  arguments.token_stride = num_slots;
  arguments.chunk_stride = num_slots / kPageTokens;
  const Buffer token_scores(std::size_t{kKvHeads} * num_slots * 4), chunk_scores(arguments.chunk_stride * 4);
  Buffer workspace(kernels::score_chunks_workspace_bytes(arguments));
  workspace.clear();
  arguments.token_scores = token_scores.as<float>();
  arguments.chunk_scores = chunk_scores.as<float>();
  arguments.workspace = workspace.as<void>();
  arguments.workspace_bytes = workspace.num_bytes();
  const Timing timing = timer.time(sets.size(), [&](std::size_t i, cudaStream_t stream) {
    arguments.queries = sets[i]->queries.as<BFloat16>();
    arguments.prefix.pages = sets[i]->key_pages.as<const BFloat16*>();
    arguments.own_keys = sets[i]->own_keys.as<BFloat16>();
    kernels::launch_score_chunks(arguments, stream);
  });
  print_row("score_chunks", fmt::format("{} queries x {} stored", num_queries, num_slots), timing,
            {.bytes = static_cast<double>(num_slots * kKvSize * 2),
             .flops = 4.0 * num_queries * num_slots * static_cast<double>(kRowSize)});
}

}  // namespace

void time_attention(GraphTimer& timer, bool sweeps_splits) {
  for (const std::uint32_t num_queries : {16u, 64u, 128u, 512u}) {
    for (const std::uint32_t num_slots : {320u, 1200u, 6144u, 32768u}) {
      const auto sets = make_sets(num_queries, num_slots);
      time_attention_case(timer, sets, num_queries, num_slots, 0);
      if (!sweeps_splits) continue;
      for (const int num_splits : {1, 2, 3, 4, 6, 8, 11, 16, 22, 33, 48, 64}) {
        time_attention_case(timer, sets, num_queries, num_slots, num_splits);
      }
    }
  }
}

void time_scoring(GraphTimer& timer) {
  for (const std::uint32_t num_slots : {1200u, 6144u, 32768u}) time_score_case(timer, 64, num_slots);
}

}  // namespace reprefill::benchmarks
