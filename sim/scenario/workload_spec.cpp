#include "sim/scenario/workload_spec.hpp"

#include "core/base/nearest_name.hpp"

namespace reprefill::sim {
namespace {

struct PresetLengths {
  PoolPreset preset;
  std::uint32_t prefix_tokens;
  std::uint32_t suffix_tokens;
};

// Prefix lengths of the few-shot sets: Qwen tokens measured by the independent reproduction (reference 3.1); suffix
// A15. RAG and long-document QA: ours, a handful of passages and one long document.
constexpr PresetLengths kPresets[] = {
    {PoolPreset::sst2, 3811, 48}, {PoolPreset::subj, 4412, 48}, {PoolPreset::trec, 4940, 48},
    {PoolPreset::rte, 6011, 100}, {PoolPreset::rag, 8192, 64},  {PoolPreset::long_document_qa, 32768, 64},
};

}  // namespace

const ParamTable<PrefixPoolSpec>& prefix_pool_params() {
  using P = PrefixPoolSpec;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::preset,
          {.name = "preset", .doc = "sets prefix_tokens and suffix_tokens", .source = "reference 3.1, A15"});
    t.add(&P::num_prefixes, {.name = "num_prefixes",
                             .doc = "distinct stored prefixes; 0: as many as make 20 times the GPU tier",
                             .source = "A13",
                             .unit = "prefixes",
                             .maximum = 1e7});
    t.add(&P::prefix_tokens, {.name = "prefix_tokens",
                              .doc = "length of each prefix",
                              .source = "reference 3.1",
                              .unit = "tokens",
                              .maximum = 4e6});
    t.add(&P::suffix_tokens, {.name = "suffix_tokens",
                              .doc = "the request's own tokens (mean, or median if lognormal)",
                              .source = "A15",
                              .unit = "tokens",
                              .minimum = 1,
                              .maximum = 1e6});
    t.add(&P::suffix_distribution, {.name = "suffix_distribution", .doc = "of suffix_tokens", .source = "semantics 7"});
    t.add(&P::suffix_spread, {.name = "suffix_spread",
                              .doc = "uniform: half width over mean; lognormal: sigma of the logarithm",
                              .source = "ours",
                              .maximum = 2});
    t.add(&P::popularity, {.name = "popularity", .doc = "of prefixes", .source = "A14"});
    t.add(&P::zipf_exponent,
          {.name = "zipf_exponent", .doc = "skew of popularity zipf", .source = "A14: 0.9", .maximum = 10});
    t.add(&P::order, {.name = "order",
                      .doc = "random draws by popularity; interleaved cycles; blocked repeats each prefix; distinct "
                             "uses every prefix once",
                      .source = "semantics 7"});
    t.add(&P::arrivals,
          {.name = "arrivals", .doc = "closed loop, Poisson, or Poisson at a utilisation", .source = "A14"});
    t.add(&P::in_flight, {.name = "in_flight",
                          .doc = "requests served at the same time",
                          .source = "A14: 1",
                          .unit = "requests",
                          .minimum = 1,
                          .maximum = 1024});
    t.add(&P::rate_per_s, {.name = "rate_per_s",
                           .doc = "arrivals poisson",
                           .source = "",
                           .unit = "requests/s",
                           .minimum = 1e-6,
                           .maximum = 1e6});
    t.add(&P::target_utilisation, {.name = "target_utilisation",
                                   .doc = "arrivals target_utilisation: rate x recompute time of a request",
                                   .source = "semantics 7",
                                   .minimum = 1e-3,
                                   .maximum = 100});
    t.add(&P::initial_cache, {.name = "initial_cache",
                              .doc = "cold: empty tiers; warm: every prefix requested once; steady: after the warm-up "
                                     "rule",
                              .source = "semantics 7"});
    t.add(&P::warmup_requests, {.name = "warmup_requests",
                                .doc = "null: until both tiers are full or 2 x num_prefixes, the same for every system",
                                .source = "semantics 7",
                                .unit = "requests",
                                .maximum = 1e7});
    t.add(&P::measured_requests, {.name = "measured_requests",
                                  .doc = "requests that count",
                                  .source = "semantics 7: 500",
                                  .unit = "requests",
                                  .minimum = 1,
                                  .maximum = 1e7});
    return t;
  }();
  return table;
}

const ParamTable<TraceSpec>& trace_params() {
  using P = TraceSpec;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::file,
          {.name = "file",
           .doc = "the trace, packed if it ends in .gz, or a folder of files; $REPREFILL_TRACES/ may begin it",
           .source = "",
           .required = true});
    t.add(&P::format, {.name = "format",
                       .doc = "mooncake, agentic (conversations), bailian, azure (arrivals and lengths only), lmcache "
                              "(look-ups)",
                       .source = "semantics 7"});
    t.add(&P::block_tokens, {.name = "block_tokens",
                             .doc = "of formats mooncake and azure, which do not say; null: 512",
                             .source = "",
                             .unit = "tokens",
                             .minimum = 1,
                             .maximum = 1e6});
    t.add(&P::conversations_per_s, {.name = "conversations_per_s",
                                    .doc = "format agentic: conversations start as a Poisson process of this rate, as "
                                           "the files do not say when",
                                    .source = "ours",
                                    .unit = "conversations/s",
                                    .minimum = 1e-6,
                                    .maximum = 1e6});
    t.add(&P::share_prefix, {.name = "share_prefix",
                             .doc = "format agentic: tool_and_system lets conversations with equal tool and system "
                                    "token counts share those blocks; an assumption, the files cannot show it",
                             .source = "ours"});
    t.add(&P::time_scale, {.name = "time_scale",
                           .doc = "multiplies arrival times",
                           .source = "semantics 7",
                           .minimum = 1e-6,
                           .maximum = 1e6});
    t.add(&P::target_utilisation,
          {.name = "target_utilisation",
           .doc = "scales arrivals so that recomputing everything would load one worker so much",
           .source = "semantics 7",
           .minimum = 1e-3,
           .maximum = 100});
    t.add(&P::num_replicas, {.name = "num_replicas",
                             .doc = "workers that the trace is split over, by hash",
                             .source = "semantics 7",
                             .minimum = 1,
                             .maximum = 4096});
    t.add(&P::replica, {.name = "replica", .doc = "the worker that is simulated", .source = "", .maximum = 4095});
    t.add(&P::max_in_flight, {.name = "max_in_flight",
                              .doc = "requests served at the same time, first come first served",
                              .source = "semantics 7: 1",
                              .unit = "requests",
                              .minimum = 1,
                              .maximum = 1024});
    t.add(&P::context_limit, {.name = "context_limit",
                              .doc = "longest prompt: model (its position limit), trace (none) or a number of tokens",
                              .source = "semantics 7: trace",
                              .unit = "tokens",
                              .minimum = 1,
                              .maximum = 4e9});
    t.add(&P::over_limit, {.name = "over_limit",
                           .doc = "longer requests are dropped or truncated, and counted",
                           .source = "semantics 7: drop"});
    t.add(&P::append, {.name = "append", .doc = "new full blocks that are stored", .source = "semantics 1: suffix"});
    t.add(&P::decode, {.name = "decode",
                       .doc = "tokens after the first: ignored, or steps of all decoding requests together, in between "
                              "prefill on the GPU",
                       .source = "semantics 1: ignore"});
    t.add(&P::ssd_capacity, {.name = "ssd_capacity_bytes",
                             .doc = "K and V that the store has room for; the least recently used segment without "
                                    "children leaves first; 0: no limit",
                             .source = "semantics 1: no limit",
                             .maximum = 1e16});
    t.add(&P::append_kv,
          {.name = "append_kv",
           .doc = "what a system that prunes stores: KV as it computed it, over the pruned prefix, or KV "
                  "of a full prefill in the background, after the first token",
           .source = "semantics 1: as_computed"});
    t.add(&P::max_requests, {.name = "max_requests",
                             .doc = "only the first so many; 0: all",
                             .source = "",
                             .unit = "requests",
                             .maximum = 1e9});
    return t;
  }();
  return table;
}

WorkloadSpec read_workload(const JsonValue& value) {
  value.require_object();
  WorkloadSpec spec;
  if (!value.has("kind")) value.fail("kind is missing: expected \"prefix_pool\" or \"trace\"");
  const std::vector<std::string> kinds = {"prefix_pool", "trace"};
  spec.is_trace = detail::read_choice(value.key("kind"), kinds) == 1;
  if (spec.is_trace) {
    trace_params().read(value, spec.trace, {"kind"});
    if (spec.trace.replica >= spec.trace.num_replicas) {
      value.fail(fmt::format("replica: found {}; expected less than num_replicas ({})", spec.trace.replica,
                             spec.trace.num_replicas));
    }
    spec.resolved = trace_params().write(spec.trace);
    spec.resolved["kind"] = "trace";
    return spec;
  }
  PrefixPoolSpec& pool = spec.pool;
  prefix_pool_params().read(value, pool, {"kind"});
  for (const PresetLengths& preset : kPresets) {
    if (preset.preset != pool.preset) continue;
    if (!value.has("prefix_tokens")) pool.prefix_tokens = preset.prefix_tokens;
    if (!value.has("suffix_tokens")) pool.suffix_tokens = preset.suffix_tokens;
  }
  if (pool.order == RequestOrder::distinct) {
    if (!value.has("num_prefixes")) pool.num_prefixes = pool.measured_requests + pool.warmup_requests.value_or(0);
    if (!value.has("initial_cache")) pool.initial_cache = InitialCache::cold;
    if (pool.num_prefixes < pool.measured_requests + pool.warmup_requests.value_or(0)) {
      value.fail(fmt::format("num_prefixes: found {}; order distinct needs {} for the requests of this workload",
                             pool.num_prefixes, pool.measured_requests + pool.warmup_requests.value_or(0)));
    }
  }
  spec.resolved = prefix_pool_params().write(pool);
  spec.resolved["kind"] = "prefix_pool";
  return spec;
}

}  // namespace reprefill::sim
