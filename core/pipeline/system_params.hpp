// Parameters that several systems share (semantics 3, "Defaults").
#pragma once

#include "core/base/params.hpp"
#include "core/layout/store_layout.hpp"
#include "core/pipeline/software_path.hpp"

namespace reprefill::pipeline {

enum class AttentionOver : std::uint8_t { kept, full_length };

struct ComputeParams {
  std::uint32_t prefill_block_tokens = 2048;
};

/// Of every system that loads a stored prefix through cache tiers.
struct LoadParams : ComputeParams {
  Bytes gpu_cache{10'000'000'000};
  Bytes host_cache{24'000'000'000};
  Bytes workspace{2'000'000'000};
  Bytes staging{2'000'000'000};
  std::string cache_policy = "lru";
  layout::KvLayout kv_layout;
};

std::vector<std::string> cache_policy_names();

template <typename P>
void add_compute_params(ParamTable<P>& table) {
  table.add(&P::prefill_block_tokens, {.name = "prefill_block_tokens",
                                       .doc = "own tokens are computed layer by layer in blocks of this size",
                                       .source = "design 4",
                                       .unit = "tokens",
                                       .minimum = 16,
                                       .maximum = 65536});
}

/// Tiers, buffers and layout; `add_load_params` is these and the choice of a cache policy.
template <typename P>
void add_tier_params(ParamTable<P>& table) {
  table.add(&P::gpu_cache, {.name = "gpu_cache_bytes",
                            .doc = "GPU tier of the KV cache, prefetch buffer inside",
                            .source = "reference 3.1: 10 GB",
                            .maximum = 1e13});
  table.add(&P::host_cache, {.name = "host_cache_bytes",
                             .doc = "host tier of the KV cache, prefetch buffer inside",
                             .source = "reference 3.1: 24 GB",
                             .maximum = 1e14});
  table.add(&P::workspace, {.name = "workspace_bytes",
                            .doc = "active KV outside the tiers, released layer by layer",
                            .source = "semantics 3: 2 GB",
                            .minimum = 4096,
                            .maximum = 1e13});
  table.add(&P::staging, {.name = "staging_bytes",
                          .doc = "host memory that SSD reads land in",
                          .source = "semantics 3: 2 GB",
                          .minimum = 4096,
                          .maximum = 1e13});
  table.add_group("kv_layout", &P::kv_layout, layout::kv_layout_params());
  add_compute_params(table);
}

template <typename P>
void add_load_params(ParamTable<P>& table) {
  table.add(&P::cache_policy, {.name = "cache_policy",
                               .doc = "eviction policy of both tiers",
                               .source = "reference 2, row cache",
                               .choices = cache_policy_names()});
  add_tier_params(table);
}

/// The share of the prefix that a system keeps.
inline ParamInfo budget_info() {
  return {
      .name = "budget", .doc = "share of chunks or tokens kept, in (0, 1]", .source = "reference 3.1: 5, 10, 25, 50 %"};
}

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::AttentionOver> {
  static constexpr std::pair<const char*, pipeline::AttentionOver> names[] = {
      {"kept", pipeline::AttentionOver::kept}, {"full_length", pipeline::AttentionOver::full_length}};
};
