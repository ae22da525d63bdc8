#include "study/advise/advise.hpp"

#include <algorithm>

namespace reprefill::study {
namespace {

constexpr const char* kBaselines[] = {"recompute", "attention_store", "as_h2o", "impress", "contiguous_kv"};
constexpr std::size_t kBatch = 8;        // of the search: part of its sequence, so not the number of cores
constexpr std::size_t kLengthSteps = 8;  // doublings of the shortest prefix
constexpr std::size_t kBisections = 3;
constexpr std::uint32_t kShortestPrefix = 64;
constexpr std::size_t kWhatIfs = 3;

bool ran(const Json& row) { return row.contains("ttft_ms"); }

Outcome outcome_of(const Json& row) {
  return {.time_ms = row.at("ttft_ms").get<double>(),
          .memory_bytes = row.at("cache_bytes").get<double>(),
          .quality = row.at("attention_mass_kept").get<double>()};
}

class Advice {
 public:
  Advice(const AdviseInputs& inputs, const AdviseOptions& options, const sim::ScenarioContext& context,
         record::ResultFolder& folder)
      : options_(options),
        inputs_(with_fixed_pool(inputs, context)),
        point_(point_of(inputs_, context)),
        runner_(inputs_, context, folder, options.runner) {}

  Json report() {
    Json report = {{"schema_version", 1},
                   {"kind", "advise"},
                   {"objective", enum_name(inputs_.objective)},
                   {"min_attention_mass", options_.min_attention_mass},
                   {"profile", point_.profile.name},
                   {"profile_kind", point_.profile.hypothetical ? "hypothetical" : "measured"},
                   {"model", point_.geometry.name},
                   {"workload", inputs_.workload}};
    report["baselines"] = baselines();
    report["crossovers"] = point_.workload.is_trace ? Json(nullptr) : crossovers();
    search(report);
    report["what_if"] = what_ifs(report);
    report["trials"] = runner_.all_rows().size();
    return report;
  }
  const std::vector<Json>& rows() const { return runner_.all_rows(); }

 private:
  static sim::Point point_of(const AdviseInputs& inputs, const sim::ScenarioContext& context) {
    const Trial trial{.purpose = "", .system = "recompute"};
    return sim::read_scenario(scenario_of(inputs, trial), "advise", {}, context).points.front();
  }

  /// A pool without a size depends on the cache that is searched for: all trials get that of the defaults.
  static AdviseInputs with_fixed_pool(AdviseInputs inputs, const sim::ScenarioContext& context) {
    const sim::Point point = point_of(inputs, context);
    if (!point.workload.is_trace) inputs.workload["num_prefixes"] = sim::pool_size(point);
    return inputs;
  }

  Json baselines() {
    std::vector<Trial> trials;
    for (const char* system : kBaselines) trials.push_back({.purpose = "baseline", .system = system});
    baseline_rows_ = runner_.run(trials);
    for (const Json& row : baseline_rows_) {
      if (row.contains("infeasible")) throw ConfigError(row.at("infeasible").get<std::string>());
    }
    return baseline_rows_;
  }

  // ---- from which prefix length loading beats recomputing, nothing cached ----

  Trial at_length(const std::string& system, std::uint32_t tokens) const {
    constexpr int kRequests = 4;
    return {.purpose = "crossover",
            .system = system,
            .params = Json::object(),
            .workload = {{"preset", "custom"},
                         {"prefix_tokens", tokens},
                         {"suffix_tokens", point_.workload.pool.suffix_tokens},
                         {"num_prefixes", kRequests},
                         {"order", "distinct"},
                         {"arrivals", "closed"},
                         {"in_flight", 1},
                         {"initial_cache", "cold"},
                         {"warmup_requests", 0},
                         {"measured_requests", measured_for_crossover(kRequests)}},
            .note = fmt::format("{} prefix tokens", tokens)};
  }
  int measured_for_crossover(int requests) const {
    constexpr int kEnoughForP99 = 1000;
    return inputs_.objective == Objective::p99_ttft ? kEnoughForP99 : requests;
  }

  std::vector<std::uint32_t> grid() const {
    std::vector<std::uint32_t> lengths;
    const auto limit = static_cast<std::uint32_t>(point_.geometry.max_position_embeddings);
    for (std::size_t step = 0; step <= kLengthSteps; ++step) {
      const std::uint32_t tokens = kShortestPrefix << step;
      if (tokens + point_.workload.pool.suffix_tokens <= limit) lengths.push_back(tokens);
    }
    return lengths;
  }

  bool loading_wins(const std::string& system, std::uint32_t tokens) {
    const std::vector<Json> rows = runner_.run({at_length("recompute", tokens), at_length(system, tokens)});
    return ran(rows[0]) && ran(rows[1]) && rows[1].at("ttft_ms") < rows[0].at("ttft_ms");
  }

  Json crossovers() {
    const std::vector<std::uint32_t> lengths = grid();
    std::vector<Trial> trials;
    for (const char* system : kBaselines) {
      for (const std::uint32_t tokens : lengths) trials.push_back(at_length(system, tokens));
    }
    const std::vector<Json> rows = runner_.run(trials);
    Json list = Json::array();
    for (std::size_t s = 1; s < std::size(kBaselines); ++s) {
      std::vector<bool> wins;
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        const Json &own = rows[s * lengths.size() + i], &recompute = rows[i];
        wins.push_back(ran(own) && ran(recompute) && own.at("ttft_ms") < recompute.at("ttft_ms"));
      }
      list.push_back(crossover_of(kBaselines[s], lengths, wins));
    }
    return list;
  }

  /// After the last length at which recomputing won, halving the gap in whole store blocks.
  Json crossover_of(const std::string& system, const std::vector<std::uint32_t>& lengths,
                    const std::vector<bool>& wins) {
    Json json = {{"system", system}, {"from_prefix_tokens", nullptr}, {"examined_tokens", lengths}};
    const auto last_loss = std::find(wins.rbegin(), wins.rend(), false);
    if (last_loss == wins.rbegin()) return json;  // recomputing wins at the longest, or no length fits
    auto first_win = static_cast<std::size_t>(last_loss.base() - wins.begin());
    std::uint32_t high = lengths[first_win];
    if (first_win > 0) {
      std::uint32_t low = lengths[first_win - 1];
      const std::uint32_t block = point_.store_block_tokens;
      for (std::size_t i = 0; i < kBisections && high - low > block; ++i) {
        const std::uint32_t middle = (low + high) / 2 / block * block;
        if (middle <= low) break;
        (loading_wins(system, middle) ? high : low) = middle;
      }
    }
    json["from_prefix_tokens"] = high;
    json["at_the_shortest_examined"] = first_win == 0;
    return json;
  }

  // ---- the search ----

  /// Shares of what is there, so that small and large machines are searched alike.
  std::vector<Json> cache_sizes(std::uint64_t available) const {
    std::vector<Json> sizes;
    for (const std::uint64_t share : {32u, 16u, 8u, 4u, 2u, 1u})
      sizes.push_back(std::max<std::uint64_t>(1, available / share));
    return sizes;
  }

  std::vector<SearchDimension> space() const {
    // Beyond weights, workspace and staging of activations a fifth of the memory stays free.
    const std::uint64_t gpu = point_.profile.gpu.memory.value / 5 * 4;
    const std::uint64_t used = point_.geometry.weight_bytes().value + 2'000'000'000;
    const std::uint64_t free_gpu = gpu > used ? gpu - used : gpu / 10;
    const std::uint64_t working_set = working_set_bytes();
    return {{"chunk_tokens", {8, 16, 32, 64}},
            {"period_layers", {2, 4, 8, 16}},
            {"subperiod_layers", {1, 2, 4, 8}},
            {"budget", {"0.02", "0.05", "0.1", "0.15", "0.25", "0.5"}},
            {"gpu_cache_bytes", cache_sizes(std::min(free_gpu, working_set))},
            {"host_cache_bytes", cache_sizes(std::min(options_.host_memory.value, working_set))}};
  }
  std::uint64_t working_set_bytes() const {
    if (point_.workload.is_trace) return options_.host_memory.value;
    const std::uint32_t stored = sim::stored_tokens_of(point_.workload.pool.prefix_tokens, point_.store_block_tokens);
    return std::max<std::uint64_t>(1, sim::pool_size(point_) * stored * point_.geometry.kv_bytes_per_token().value);
  }

  bool makes_sense(const Json& params) const {
    const int period = params.at("period_layers").get<int>();
    return params.at("subperiod_layers").get<int>() <= period && period <= point_.geometry.num_layers &&
           point_.store_block_tokens % params.at("chunk_tokens").get<std::uint32_t>() == 0;
  }

  /// Prefetch buffers lie inside the tiers: in small ones they shrink too.
  static Json with_buffers(Json params) {
    constexpr std::uint64_t kGpuBuffer = 200'000'000, kHostBuffer = 400'000'000;
    params["prefetch_gpu_bytes"] = std::min(kGpuBuffer, params.at("gpu_cache_bytes").get<std::uint64_t>() / 4);
    params["prefetch_host_bytes"] = std::min(kHostBuffer, params.at("host_cache_bytes").get<std::uint64_t>() / 4);
    return params;
  }

  void search(Json& report) {
    ParetoSearch search(
        space(), [this](const Json& params) { return makes_sense(params); }, inputs_.seed);
    std::vector<Json> rows;
    std::vector<Outcome> outcomes;
    std::size_t num_trials = 0, num_infeasible = 0;
    while (num_trials < options_.search_trials) {
      const auto batch = search.propose(std::min(kBatch, options_.search_trials - num_trials));
      if (batch.empty()) break;
      std::vector<Trial> trials;
      for (const SearchSetting& setting : batch) {
        trials.push_back(
            {.purpose = "search", .system = "contiguous_kv", .params = with_buffers(search.params_of(setting))});
      }
      const std::vector<Json> results = runner_.run(trials);
      num_trials += batch.size();
      for (std::size_t i = 0; i < batch.size(); ++i) {
        num_infeasible += !ran(results[i]);
        const bool is_good_enough = ran(results[i]) && outcome_of(results[i]).quality >= options_.min_attention_mass;
        search.report(batch[i], is_good_enough ? std::optional(outcome_of(results[i])) : std::nullopt);
        if (!is_good_enough) continue;
        rows.push_back(results[i]);
        outcomes.push_back(outcome_of(results[i]));
      }
    }
    report["search"] = {{"trials", num_trials},
                        {"settings", search.num_settings()},
                        {"infeasible", num_infeasible},
                        {"below_min_attention_mass", num_trials - num_infeasible - rows.size()}};
    report["pareto"] = Json::array();
    for (const std::size_t i : pareto_set(outcomes)) report["pareto"].push_back(rows[i]);
    // The set is in the order of time: its first is the fastest that keeps enough.
    report["recommended"] = report["pareto"].empty() ? Json(nullptr) : report["pareto"].front();
  }

  // ---- faster parts ----

  /// Bandwidths doubled, latencies halved.
  Json faster(bool ssd, bool link) const {
    const sim::Profile& profile = point_.profile;
    Json json = inputs_.profile.is_object() ? inputs_.profile : Json{{"name", inputs_.profile}};
    if (ssd) {
      Json part = sim::ssd_profile_params().write(profile.ssd);
      for (const char* key : {"read_bandwidth_bytes_per_s", "write_bandwidth_bytes_per_s"}) {
        part[key] = 2 * part[key].get<double>();
      }
      for (const char* key : {"read_latency_ns", "write_latency_ns"}) part[key] = part[key].get<std::int64_t>() / 2;
      json["ssd"] = part;
    }
    if (link) {
      Json part = sim::link_profile_params().write(profile.link);
      for (const char* key :
           {"copy_bandwidth_bytes_per_s", "gather_bandwidth_bytes_per_s", "pageable_bandwidth_bytes_per_s"}) {
        part[key] = 2 * part[key].get<double>();
      }
      for (const char* key : {"copy_latency_ns", "gather_latency_ns"}) part[key] = part[key].get<std::int64_t>() / 2;
      json["link"] = part;
    }
    return json;
  }

  Json what_ifs(const Json& report) {
    std::vector<Json> before = baseline_rows_;
    if (!report.at("recommended").is_null()) before.push_back(report.at("recommended"));
    std::vector<Trial> trials;
    for (const Json& row : before) {
      for (const auto& [ssd, link, name] :
           {std::tuple(true, false, "ssd twice as fast"), std::tuple(false, true, "link twice as fast"),
            std::tuple(true, true, "both twice as fast")}) {
        trials.push_back({.purpose = "what_if",
                          .system = row.at("system").get<std::string>(),
                          .params = row.at("params"),
                          .profile = faster(ssd, link),
                          .note = name});
      }
    }
    const std::vector<Json> rows = runner_.run(trials);
    Json list = Json::array();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Json& base = before[i / kWhatIfs];
      if (!ran(rows[i])) continue;
      const double old_ms = base.at("ttft_ms").get<double>(), new_ms = rows[i].at("ttft_ms").get<double>();
      list.push_back({{"system", base.at("system")},
                      {"is_recommended", i / kWhatIfs == baseline_rows_.size()},
                      {"change", rows[i].at("note")},
                      {"before_ms", old_ms},
                      {"after_ms", new_ms},
                      {"relative_change", (new_ms - old_ms) / old_ms}});
    }
    return list;
  }

  const AdviseOptions& options_;
  AdviseInputs inputs_;
  sim::Point point_;
  TrialRunner runner_;
  std::vector<Json> baseline_rows_;
};

}  // namespace

Json advise_resolved(const AdviseInputs& inputs, const AdviseOptions& options) {
  return {{"schema_version", 1},
          {"kind", "advise"},
          {"model", inputs.model},
          {"profile", inputs.profile},
          {"workload", inputs.workload},
          {"importance", inputs.importance},
          {"software_path", inputs.software_path},
          {"objective", enum_name(inputs.objective)},
          {"min_attention_mass", options.min_attention_mass},
          {"host_memory_bytes", options.host_memory.value},
          {"search_trials", options.search_trials},
          {"seed", inputs.seed}};
}

std::size_t num_advise_trials(const AdviseOptions& options) {
  const std::size_t systems = std::size(kBaselines);
  return systems + systems * (kLengthSteps + 1) + 2 * kBisections * (systems - 1) + options.search_trials +
         kWhatIfs * (systems + 1);
}

Json advise(const AdviseInputs& inputs, const AdviseOptions& options, const sim::ScenarioContext& context,
            record::ResultFolder& folder, std::vector<Json>& rows) {
  Advice advice(inputs, options, context, folder);
  Json report = advice.report();
  rows = advice.rows();
  return report;
}

}  // namespace reprefill::study
