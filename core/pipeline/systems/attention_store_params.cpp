#include "core/pipeline/systems/attention_store_params.hpp"

namespace reprefill::pipeline {

const ParamTable<AttentionStoreParams>& attention_store_params() {
  using P = AttentionStoreParams;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::lookahead_layers,
          {.name = "lookahead_layers",
           .doc = "layers whose loads may run ahead of compute; more than the model has means all at once",
           .source = "A17: prototype 1 (0 in the IMPRESS prototype); direct: all, bounded by the workspace",
           .unit = "layers",
           .maximum = 511});
    t.add(&P::load, {.name = "load",
                     .doc = "layer by layer ahead of compute, everything before compute, or everything to host memory "
                            "and then layer by layer",
                     .source = "reference 3.3 layer_wise; lmcache_like load_then_compute, hicache_like host_first"});
    t.add(&P::prefetch_policy,
          {.name = "prefetch_policy",
           .doc = "host_first: how long a request waits for reads before it computes what is not there; all but "
                  "wait_complete depend on timing",
           .source = "reference 6, HiCache"});
    t.add(&P::timeout_base, {.name = "timeout_base_ns",
                             .doc = "prefetch_policy timeout: the least wait",
                             .source = "reference 6 gives base + per 1024 tokens; 1 s is our assumption",
                             .maximum = 1e12});
    t.add(&P::timeout_per_1024_tokens, {.name = "timeout_per_1024_tokens_ns",
                                        .doc = "prefetch_policy timeout: what 1024 stored tokens add",
                                        .source = "as timeout_base_ns; 0.25 s is our assumption",
                                        .maximum = 1e12});
    t.add(&P::scheduler_lookahead,
          {.name = "scheduler_lookahead",
           .doc = "waiting requests whose KV is read into host memory ahead of their turn; above 0 depends on timing",
           .source = "reference 3.3: the next two jobs, as an example; off unless several wait",
           .unit = "requests",
           .maximum = 1e6});
    t.add(&P::split_tokens, {.name = "split_tokens",
                             .doc = "leading tokens that are computed while the rest is loaded, in whole blocks; "
                                    "layer_wise only",
                             .source = "reference 6, CacheFlow; the scenario says where to split",
                             .unit = "tokens",
                             .maximum = 1e8});
    add_load_params(t);
    return t;
  }();
  return table;
}

}  // namespace reprefill::pipeline
