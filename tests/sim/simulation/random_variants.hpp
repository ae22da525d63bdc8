// Systems with parameters drawn at random from everything that is legal for the tiny model.
#pragma once

#include <algorithm>

#include "core/base/random.hpp"
#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill::test_support {

class VariantGenerator {
 public:
  explicit VariantGenerator(std::uint64_t seed) : random_(seed, 0, "variants") {}

  Variant next(std::string system) {
    Variant variant{.name = system, .system = system};
    Json& params = variant.params;
    if (one_of(3) == 0) params["prefill_block_tokens"] = 16 + one_of(40);
    if (system == "recompute") return variant;
    const bool loads_all =
        system == "attention_store" || system == "lmcache_like" || system == "hicache_like" || system == "hybrid";
    if (!loads_all) params["budget"] = pick<const char*>({"0.05", "1/3", "0.1", "0.25", "0.5", "1"});
    if (system == "resident") {
      params["chunk_tokens"] = pick<int>({8, 16, 32, 64});
      params["period_layers"] = 1 + one_of(12);
      return variant;
    }
    add_tiers(params);
    params["kv_layout"] = random_layout(system);
    if (loads_all) {
      params["lookahead_layers"] = pick<int>({0, 1, 2, 511});
      params["load"] = pick<const char*>({"layer_wise", "load_then_compute", "host_first"});
      if (system == "hybrid") {
        params["load"] = "layer_wise";
        params["split_tokens"] = pick<int>({0, 64, 200, 704});
      }
    }
    if (system == "contiguous_kv") add_contiguous_kv(params);
    if (system == "oracle") {
      params.erase("cache_policy");
      add_chunks(params);
      params["period_layers"] = 1 + one_of(12);
    }
    if (system == "impress") {
      params["vote"] = pick<const char*>({"top_k", "majority", "union"});
      params["similarity_exponent"] = pick<double>({0.1, 0.6, 3});
      params["reorder"] = {{"io", pick<const char*>({"off", "offline"})}};
    }
    if (system == "impress" || system == "contiguous_kv") {
      params["identify_cache"] = pick<const char*>({"none", "policy", "pinned_host"});
    }
    if (system == "impress" || system == "as_h2o") {
      params["attention_over"] = pick<const char*>({"kept", "full_length"});
    }
    return variant;
  }

 private:
  std::uint64_t one_of(std::uint64_t count) { return random_.below(count); }
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return *(values.begin() + static_cast<std::ptrdiff_t>(one_of(values.size())));
  }

  Json random_layout(const std::string& system) {
    Json layout;
    // The others read K and V one without the other.
    layout["kv"] = system != "impress" && system != "as_h2o" ? pick<const char*>({"apart", "adjacent"}) : "apart";
    layout["order"] = pick<const char*>({"layer_major", "period_major", "chunk_major"});
    layout["block_tokens"] = pick<int>({8, 16, 32, 64});
    layout["period_layers"] = 1 + one_of(9);
    return layout;
  }

  void add_tiers(Json& params) {
    params["gpu_cache_bytes"] = pick<int>({0, 20'000, 300'000, 5'000'000});
    params["host_cache_bytes"] = pick<int>({0, 50'000, 700'000, 5'000'000});
    params["cache_policy"] =
        pick<const char*>({"lru", "lfu", "s3_fifo", "arc", "attention_guided", "importance_frequency"});
  }

  void add_chunks(Json& params) {
    const int block = params["kv_layout"]["block_tokens"];
    int chunk = pick<int>({8, 16, 32, 64});
    while (block % chunk != 0) chunk /= 2;
    params["chunk_tokens"] = chunk;
  }

  void add_contiguous_kv(Json& params) {
    add_chunks(params);
    const auto period = static_cast<int>(1 + one_of(12));
    params["period_layers"] = period;
    params["subperiod_layers"] = 1 + one_of(static_cast<std::uint64_t>(period));
    params["inter_trigger_layer"] = 1 + one_of(static_cast<std::uint64_t>(period));
    params["inter_target"] = pick<const char*>({"subperiod", "period"});
    params["intra_prefetch"] = one_of(4) > 0;
    params["inter_prefetch"] = one_of(4) > 0;
    params["identify_keys_prefetch"] = one_of(2) > 0;
    params["leader_keys"] = pick<const char*>({"reread", "reuse"});
    params["scorer"] = pick<const char*>({"keys", "keys", "digest:mean", "digest:minmax", "int4_keys"});
    params["digest_scoring"] = pick<const char*>({"host", "device"});
    if (params["scorer"] != "keys") params["leader_keys"] = "reread";
    params["prefetch_gpu_bytes"] = pick<int>({0, 4'096, 30'000, 100'000, 2'000'000});
    params["prefetch_host_bytes"] = pick<int>({0, 4'096, 50'000, 200'000, 2'000'000});
    if (params["cache_policy"] != "lru") params["score_table_entries"] = pick<int>({1, 50, 100'000});
  }

  RandomStream random_;
};

/// Workspace and staging of exactly what `check` asks for, for each request in flight.
inline void shrink_buffers(Variant& variant, PathKind path, std::uint32_t stored_tokens, int max_in_flight = 1) {
  if (!variant.params.contains("kv_layout")) return;  // loads nothing
  const Bench bench(variant, path);
  const Bytes layer = bench.system->one_layer_working_set(stored_tokens);
  variant.params["workspace_bytes"] =
      std::max<std::uint64_t>(4096, layer.value * static_cast<std::uint64_t>(max_in_flight));
  variant.params["staging_bytes"] = std::max<std::uint64_t>(4096, bench.system->largest_read(stored_tokens).value);
}

inline std::vector<std::string> every_system() {
  std::vector<std::string> names;
  for (const pipeline::SystemEntry& entry : pipeline::system_registry()) names.push_back(entry.name);
  return names;
}

}  // namespace reprefill::test_support
