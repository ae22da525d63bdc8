// Nanoseconds per block of matching and inserting, at 10^3 to 10^6 stored blocks.
#include <benchmark/benchmark.h>

#include <span>
#include <vector>

#include "core/base/random.hpp"
#include "core/cache/segment_tree.hpp"

namespace {

using namespace reprefill;
using namespace reprefill::cache;

constexpr std::size_t kBlocksPerPrefix = 32;

/// Conversations: each prefix takes the first blocks of an earlier one and goes on by itself.
std::vector<std::vector<std::uint64_t>> make_prefixes(std::size_t num_blocks) {
  RandomStream random(7, 0, "segment tree benchmark");
  std::vector<std::vector<std::uint64_t>> prefixes;
  std::uint64_t next_block = 0;
  while (next_block < num_blocks) {
    std::vector<std::uint64_t> prefix;
    if (!prefixes.empty()) {
      const auto& earlier = prefixes[random.below(prefixes.size())];
      const std::size_t shared = random.below(kBlocksPerPrefix / 2);
      prefix.assign(earlier.begin(), earlier.begin() + static_cast<std::ptrdiff_t>(shared));
    }
    while (prefix.size() < kBlocksPerPrefix) prefix.push_back(mix64(next_block++));
    prefixes.push_back(std::move(prefix));
  }
  return prefixes;
}

SegmentTree make_tree(const std::vector<std::vector<std::uint64_t>>& prefixes) {
  SegmentTree tree(512);
  for (const std::vector<std::uint64_t>& prefix : prefixes) {
    const Match match = tree.match(prefix);
    if (match.num_blocks < prefix.size()) tree.insert(match, std::span(prefix).subspan(match.num_blocks));
  }
  return tree;
}

void match_prefix(benchmark::State& state) {
  const auto prefixes = make_prefixes(static_cast<std::size_t>(state.range(0)));
  const SegmentTree tree = make_tree(prefixes);
  RandomStream random(8, 0, "segment tree benchmark");
  for (auto _ : state) benchmark::DoNotOptimize(tree.match(prefixes[random.below(prefixes.size())]));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBlocksPerPrefix));
}

void insert_prefixes(benchmark::State& state) {
  const auto prefixes = make_prefixes(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(make_tree(prefixes));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(match_prefix)->RangeMultiplier(10)->Range(1'000, 1'000'000);
BENCHMARK(insert_prefixes)->RangeMultiplier(10)->Range(1'000, 1'000'000);

}  // namespace
