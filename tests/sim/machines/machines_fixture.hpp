// A tiny model, four stored prefixes and a sequence of requests, to be run by any system on any machine.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/random.hpp"
#include "core/layout/token_order.hpp"
#include "core/pipeline/system.hpp"
#include "sim/simulated_machine.hpp"
#include "tests/support/printers.hpp"
#include "traces/importance/importance_presets.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::test_support {

/// A system with its parameters (over the path's defaults).
struct Variant {
  std::string name;
  std::string system;
  Json params = Json::object();
};

inline std::ostream& operator<<(std::ostream& out, const Variant& variant) { return out << variant.name; }

inline constexpr std::uint32_t kStoredTokens = 640;
inline constexpr std::uint32_t kNumPrefixes = 4;

inline ModelGeometry small_model() {
  return {.name = "small",
          .num_layers = 10,
          .hidden = 256,
          .num_query_heads = 8,
          .num_kv_heads = 2,
          .head_dim = 32,
          .intermediate = 512,
          .vocab = 1000,
          .tied_embeddings = true,
          .max_position_embeddings = 4096};
}

inline sim::Profile datasheet_profile() {
  const Json name = "a800-990pro";
  return sim::read_profile(JsonValue(name, "test"),
                           std::filesystem::path(REPREFILL_SOURCE_DIR) / "calibrate" / "profiles");
}

/// What both machines are given alike.
class Bench {
 public:
  Bench(const Variant& variant, pipeline::PathKind path, int max_in_flight = 1)
      : Bench(variant, path, max_in_flight, {}) {
    if (!system->foresees()) return;
    for (std::uint32_t i = 0; i < 12; ++i) system->foresee(request(i));
  }

 protected:
  struct ForeseesByItself {};
  Bench(const Variant& variant, pipeline::PathKind path, int max_in_flight, ForeseesByItself)
      : importance_(traces::importance_preset("paper-5pct", "test").params,
                    {.num_kv_heads = 2, .probe_kv_heads = {0, 0, 0}}, 11) {
    environment.geometry = small_model();
    environment.path = pipeline::default_software_path(path);
    environment.max_in_flight = max_in_flight;
    environment.importance = &importance_;
    environment.segment_tokens = [](SegmentId) { return kStoredTokens; };
    environment.token_places = [this](SegmentId segment, int layer_idx) {
      return some_order(segment, layer_idx).place_of();
    };
    for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
      if (entry.name == variant.system)
        system = entry.make(entry.resolve(JsonValue(variant.params, variant.name), path), environment);
    }
    REPREFILL_CHECK(system != nullptr, "no system {}", variant.system);
    if (system->cache() != nullptr) system->cache()->set_decision_log(&decisions);
  }

 public:
  const traces::ImportanceSource& importance() const { return importance_; }

  pipeline::Request request(std::uint32_t number) const {
    pipeline::Request request;
    request.id = number;
    request.importance_id = number;
    const std::uint32_t prefix = (number * 7 + number / 3) % kNumPrefixes;
    request.task = prefix;
    request.prompt_tokens = kStoredTokens + 30;
    request.own_tokens = system->reuses_prefix() ? 30 : request.prompt_tokens;
    if (system->reuses_prefix()) {
      request.stored_tokens = kStoredTokens;
      request.stored_prefix = {{SegmentId{prefix}, kStoredTokens}};
    }
    return request;
  }

  pipeline::SystemEnvironment environment;
  cache::DecisionLog decisions{cache::DecisionLog::Keep::full_list};
  std::unique_ptr<pipeline::System> system;

 private:
  /// Any order will do, as long as each segment and layer has its own.
  const layout::TokenOrder& some_order(SegmentId segment, int layer_idx) {
    layout::TokenOrder& order = orders_[{segment, layer_idx}];
    if (order.num_tokens() > 0) return order;
    std::vector<float> importance(environment.segment_tokens(segment));
    for (std::uint32_t token = 0; token < importance.size(); ++token) {
      const std::uint64_t owner = combine64(segment.value, static_cast<std::uint64_t>(layer_idx));
      importance[token] = static_cast<float>(combine64(owner, token / 3) % 100);
    }
    return order = layout::TokenOrder::by_importance(importance);
  }

  traces::SyntheticImportance importance_;
  std::map<std::pair<SegmentId, int>, layout::TokenOrder> orders_;
};

/// Collects spans; the simulated machine needs somebody to tell.
class SpanList final : public sim::MachineObserver {
 public:
  void on_span(const record::Span& span) override { spans.push_back(span); }
  void on_attend(const pipeline::Request&, int, const pipeline::KvView&) override {}
  std::vector<record::Span> spans;
};

/// The simulated machine over a bench.
class SimulatedBench {
 public:
  SimulatedBench(Bench& bench, const sim::Profile& profile) : machine(simulation, options_for(bench, profile), spans) {}

  /// Until the task is done. False: no event is left (a deadlock).
  bool drive(pipeline::Task& task) {
    for (;;) {
      machine.resume_ready();
      if (task.done()) return true;
      if (!simulation.step()) return false;
    }
  }

  static sim::SimulatedMachineOptions options_for(Bench& bench, const sim::Profile& profile) {
    return {.geometry = &bench.environment.geometry,
            .profile = &profile,
            .path = &bench.environment.path,
            .importance = &bench.importance(),
            .store_layout = bench.system->store_layout(),
            .segment_tokens = bench.environment.segment_tokens,
            .staging = bench.system->staging()};
  }

  sim::Simulation simulation;
  SpanList spans;
  sim::SimulatedMachine machine;
};

/// Every system and every parameter that changes what is read or cached; tiers so small that pieces are evicted.
inline std::vector<Variant> all_variants() {
  const Json tiny = {{"gpu_cache", "300 kB"}, {"host_cache", "700 kB"}};
  const auto with = [&](Json params) {
    Json merged = tiny;
    merged.update(params);
    return merged;
  };
  const Json buffers = {{"prefetch_gpu", "100 kB"}, {"prefetch_host", "200 kB"}};
  const auto ckv = [&](Json params) {
    Json merged = with(buffers);
    merged.update(params);
    return merged;
  };
  return {
      {"recompute", "recompute", Json::object()},
      {"resident", "resident", Json::object()},
      {"resident_pruned", "resident", {{"budget", 0.25}}},
      {"oracle", "oracle", tiny},
      {"oracle_blocks", "oracle", with({{"budget", 0.3}, {"kv_layout", {{"kv", "apart"}, {"block_tokens", 64}}}})},
      {"attention_store", "attention_store", tiny},
      {"attention_store_s3_fifo", "attention_store", with({{"cache_policy", "s3_fifo"}})},
      {"attention_store_serial", "attention_store", with({{"lookahead_layers", 0}})},
      {"hybrid", "hybrid", with({{"split_tokens", 192}, {"prefill_block_tokens", 80}})},
      {"lmcache", "lmcache_like", with({{"kv_layout", {{"block_tokens", 64}}}})},
      {"lmcache_layers", "lmcache_like", with({{"kv_layout", {{"block_tokens", 64}}}, {"load", "layer_wise"}})},
      {"hicache", "hicache_like", tiny},
      {"as_h2o", "as_h2o", tiny},
      {"as_h2o_lfu", "as_h2o", with({{"cache_policy", "lfu"}, {"budget", 0.25}})},
      {"impress", "impress", tiny},
      {"impress_union", "impress", with({{"vote", "union"}, {"budget", 0.1}, {"identify_cache", "pinned_host"}})},
      {"impress_reordered", "impress", with({{"reorder", {{"io", "offline"}}}, {"budget", 0.1}})},
      {"impress_reordered_masked", "impress",
       with({{"reorder", {{"io", "offline"}, {"calibration_requests", 2}}},
             {"budget", 0.25},
             {"attention_over", "full_length"}})},
      {"impress_lru", "impress", with({{"cache_policy", "lru"}, {"probe_heads", {0, 4}}})},
      {"impress_groups", "impress", with({{"scorer", "probe_per_group"}, {"budget", 0.25}})},
      {"ckv", "contiguous_kv", ckv(Json::object())},
      {"ckv_everything", "contiguous_kv", ckv({{"budget", 1}})},
      {"ckv_no_prefetch", "contiguous_kv", ckv({{"intra_prefetch", false}, {"inter_prefetch", false}})},
      {"ckv_no_inter", "contiguous_kv", ckv({{"inter_prefetch", false}})},
      {"ckv_whole_period", "contiguous_kv", ckv({{"inter_target", "period"}, {"budget", 0.25}})},
      {"ckv_reuse", "contiguous_kv", ckv({{"leader_keys", "reuse"}, {"identify_cache", "policy"}, {"budget", 0.3}})},
      {"ckv_pinned", "contiguous_kv", ckv({{"identify_cache", "pinned_host"}, {"period_layers", 3}})},
      {"ckv_chunk64", "contiguous_kv", ckv({{"chunk_tokens", 64}, {"budget", 0.25}})},
      {"ckv_unaligned", "contiguous_kv",
       ckv({{"kv_layout", {{"kv", "apart"}, {"block_tokens", 64}}}, {"budget", 0.1}})},
      {"ckv_unaligned_reuse", "contiguous_kv",
       ckv({{"kv_layout", {{"kv", "apart"}, {"block_tokens", 64}}}, {"leader_keys", "reuse"}})},
      {"ckv_keys_ahead", "contiguous_kv",
       ckv({{"identify_keys_prefetch", true}, {"identify_cache", "policy"}, {"period_layers", 3}})},
      {"ckv_arc", "contiguous_kv", ckv({{"cache_policy", "arc"}, {"budget", 0.25}})},
      {"ckv_lru", "contiguous_kv", ckv({{"cache_policy", "lru"}, {"budget", 0.25}})},
      {"ckv_no_buffers", "contiguous_kv", with({{"prefetch_gpu", "0 B"}, {"prefetch_host", "0 B"}, {"budget", 0.25}})},
      {"ckv_mean", "contiguous_kv", ckv({{"scorer", "digest:mean"}, {"budget", 0.25}})},
      {"ckv_minmax", "contiguous_kv",
       ckv({{"scorer", "digest:minmax"},
            {"digest_scoring", "device"},
            {"identify_cache", "policy"},
            {"chunk_tokens", 32}})},
      {"ckv_int4", "contiguous_kv", ckv({{"scorer", "int4_keys"}, {"budget", 0.25}})},
      {"ckv_int4_ahead", "contiguous_kv",
       ckv({{"scorer", "int4_keys"},
            {"identify_cache", "none"},
            {"identify_keys_prefetch", true},
            {"period_layers", 3}})},
      {"ckv_no_cache", "contiguous_kv", {{"gpu_cache", "0 B"}, {"host_cache", "0 B"}}},
  };
}

}  // namespace reprefill::test_support
