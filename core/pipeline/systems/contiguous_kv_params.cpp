#include "core/pipeline/systems/contiguous_kv_params.hpp"

namespace reprefill::pipeline {
namespace {

/// A digest holds no keys that attention could use; one of every token is small enough to stay in host memory.
void finish_digest(ContiguousKvParams& params, const JsonValue& object) {
  if (object.has("leader_keys") && params.leader_keys == LeaderKeys::reuse) {
    object.fail(fmt::format("leader_keys: found reuse; scorer {} reads no keys to reuse: expected reread",
                            enum_name(params.scorer)));
  }
  params.leader_keys = LeaderKeys::reread;
  if (params.scorer == KeyDigest::int4 && !object.has("identify_cache")) {
    params.identify_cache = IdentifyCache::pinned_host;
  }
}

}  // namespace

ContiguousKvParams contiguous_kv_defaults(PathKind path) {
  const bool prototype = path == PathKind::prototype;
  ContiguousKvParams params;
  params.cache_policy = "attention_guided";
  params.kv_layout.kv = layout::KvPlacement::adjacent;
  params.identify_cache = prototype ? IdentifyCache::none : IdentifyCache::policy;
  params.leader_keys = prototype ? LeaderKeys::reread : LeaderKeys::reuse;
  return params;
}

layout::AuxiliarySlabs auxiliary_slabs(const ContiguousKvParams& params) {
  return {.identification_period = params.period_layers,
          .probe_heads = {},
          .digest = params.scorer,
          .digest_tokens = is_per_chunk(params.scorer) ? params.chunk_tokens : 0};
}

void finish_contiguous_kv_params(ContiguousKvParams& params, const JsonValue& object) {
  const auto named = [&](const std::string& key) { return object.has(key); };
  if (!named("kv_layout") || !object.key("kv_layout").has("block_tokens")) {
    params.kv_layout.block_tokens = params.chunk_tokens;
  }
  if (params.kv_layout.block_tokens % params.chunk_tokens != 0) {
    object.fail(fmt::format("kv_layout.block_tokens: found {}; expected a multiple of chunk_tokens ({})",
                            params.kv_layout.block_tokens, params.chunk_tokens));
  }
  if (params.scorer != KeyDigest::none) finish_digest(params, object);
  if (!named("subperiod_layers")) params.subperiod_layers = std::min(params.subperiod_layers, params.period_layers);
  if (params.subperiod_layers > params.period_layers) {
    object.fail(fmt::format("subperiod_layers: found {}; expected at most period_layers ({})", params.subperiod_layers,
                            params.period_layers));
  }
  if (!named("inter_trigger_layer")) params.inter_trigger_layer = params.subperiod_layers;
  if (params.inter_trigger_layer > params.period_layers) {
    object.fail(fmt::format("inter_trigger_layer: found {}; expected at most period_layers ({})",
                            params.inter_trigger_layer, params.period_layers));
  }
}

const ParamTable<ContiguousKvParams>& contiguous_kv_params() {
  using P = ContiguousKvParams;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::budget, budget_info());
    t.add(&P::chunk_tokens,
          {.name = "chunk_tokens",
           .doc = "unit of selection; of I/O and caching too, unless kv_layout.block_tokens is larger",
           .source = "reference 3.1: c = 16",
           .unit = "tokens",
           .minimum = 1,
           .maximum = 4096});
    t.add(&P::scorer,
          {.name = "scorer",
           .doc = "what is read to score chunks: all keys, per chunk the mean key or each dimension's smallest and "
                  "largest value, or keys in 4 bits (kept in host memory unless identify_cache says otherwise)",
           .source = "reference 3.1: keys; the others beyond the paper (semantics 3)"});
    t.add(&P::digest_scoring,
          {.name = "digest_scoring",
           .doc = "where a scorer other than keys runs: on the host, as the engine does with a GPU, or on the device, "
                  "as the CPU executor does and as a GPU would that had a kernel",
           .source = "semantics 2: without a kernel on the host, charged and flagged"});
    t.add(&P::period_layers, {.name = "period_layers",
                              .doc = "layers that share one selection",
                              .source = "reference 3.1: p = 8",
                              .unit = "layers",
                              .minimum = 1,
                              .maximum = 511});
    t.add(&P::subperiod_layers, {.name = "subperiod_layers",
                                 .doc = "layers whose reads are issued together",
                                 .source = "reference 3.1: sp = 4; A9",
                                 .unit = "layers",
                                 .minimum = 1,
                                 .maximum = 511});
    t.add(&P::intra_prefetch, {.name = "intra_prefetch",
                               .doc = "read ahead within a period; off: each layer reads when it comes",
                               .source = "reference 3.1, step 4"});
    t.add(&P::inter_prefetch, {.name = "inter_prefetch",
                               .doc = "read the current selection for the next period's first layers",
                               .source = "reference 3.1, step 5"});
    t.add(&P::identify_keys_prefetch,
          {.name = "identify_keys_prefetch",
           .doc = "read the next leader's keys for scoring from the start of a period, as far as the prefetch buffers "
                  "have room",
           .source = "beyond the paper (semantics 3): off"});
    t.add(&P::inter_target, {.name = "inter_target",
                             .doc = "layers of the next period that are prefetched",
                             .source = "A9: its first subperiod"});
    t.add(&P::inter_trigger_layer, {.name = "inter_trigger_layer",
                                    .doc = "inter-period prefetch starts when this many layers of the period are done",
                                    .source = "semantics 3: the subperiod's size",
                                    .unit = "layers",
                                    .minimum = 1,
                                    .maximum = 511});
    t.add(&P::leader_keys, {.name = "leader_keys",
                            .doc = "whether the chosen chunks' keys of the leader are read again",
                            .source = "semantics 3: prototype reread, direct reuse"});
    t.add(&P::prefetch_drop, {.name = "prefetch_drop",
                              .doc = "what happens to unneeded prefetch that is still queued (unsubmitted: one read a "
                                     "piece; depends on timing)",
                              .source = "semantics 3: never"});
    t.add(&P::prefetch_gpu, {.name = "prefetch_gpu_bytes",
                             .doc = "prefetch buffer inside the GPU tier",
                             .source = "reference 3.1: 0.2 GB",
                             .maximum = 1e13});
    t.add(&P::prefetch_host, {.name = "prefetch_host_bytes",
                              .doc = "prefetch buffer inside the host tier",
                              .source = "reference 3.1: 0.4 GB",
                              .maximum = 1e13});
    t.add(&P::score_table_entries, {.name = "score_table_entries",
                                    .doc = "chunks whose importance and frequency are remembered",
                                    .source = "semantics 3; size is ours",
                                    .unit = "chunks",
                                    .minimum = 1,
                                    .maximum = 1e9});
    add_identify_params(t);
    add_load_params(t);
    return t;
  }();
  return table;
}

}  // namespace reprefill::pipeline
