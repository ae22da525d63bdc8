// Time of one importance query: a 5,952-token prefix in one segment, one layer. Budget: 40 ns per 16-token chunk for
// all heads, 3 to 4 ns per token and group at token level. Buffers are allocated outside the timed region; each query
// is for another request, so no table of a former one helps.
#include <vector>

#include <benchmark/benchmark.h>

#include "traces/importance/synthetic_importance.hpp"

namespace {

using namespace reprefill;
using namespace reprefill::traces;

void unit_scores(benchmark::State& state, HeadGrouping grouping) {
  const auto unit_tokens = static_cast<int>(state.range(0));
  const auto segment_tokens = static_cast<std::uint32_t>(state.range(1));
  const SyntheticImportance source(importance_preset("paper-5pct", "benchmark").params, {}, 1);
  std::vector<SegmentSpan> prefix;
  constexpr std::uint32_t kPrefixTokens = 5952;
  for (std::uint32_t i = 0; i * segment_tokens < kPrefixTokens; ++i) prefix.push_back({SegmentId{i}, segment_tokens});
  const auto groups = static_cast<std::size_t>(source.num_groups(grouping));
  const std::size_t num_out = num_units(prefix, unit_tokens);
  std::vector<float> out(groups * num_out);
  std::uint64_t request = 0;
  for (auto _ : state) {
    source.unit_scores(
        {.request = request++, .task = request % 7, .prefix = prefix, .layer_idx = 8, .grouping = grouping},
        unit_tokens, out);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  const double per_iteration = static_cast<double>(out.size());
  state.counters["ns_per_score"] = benchmark::Counter(
      per_iteration * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// Arguments: unit tokens, segment tokens.
BENCHMARK_CAPTURE(unit_scores, all_heads, HeadGrouping::all_heads)
    ->Args({16, 5952})
    ->Args({16, 64})
    ->Args({64, 5952})
    ->Args({1, 5952});
BENCHMARK_CAPTURE(unit_scores, per_kv_head, HeadGrouping::per_kv_head)->Args({1, 5952})->Args({16, 5952});
BENCHMARK_CAPTURE(unit_scores, probe_heads, HeadGrouping::probe_heads)->Args({1, 5952});

}  // namespace
