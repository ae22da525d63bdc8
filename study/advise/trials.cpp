#include "study/advise/trials.hpp"

#include <mutex>

#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::study {
namespace {

constexpr std::uint64_t kMassRequests = 8;

const char* statistic_of(Objective objective) {
  static constexpr const char* kNames[] = {"mean_ttft_ms", "p95_ttft_ms", "p99_ttft_ms"};
  return kNames[static_cast<std::size_t>(objective)];
}

/// Systems that prune nothing keep all of the mass; the row's meter sees only what was selected.
double mass_of(const Json& row) {
  const Json& mass = row.at("attention_mass_kept").at("mean");
  return mass.is_null() ? 1.0 : mass.get<double>();
}

std::uint64_t cache_bytes_of(const Json& params) {
  return params.value("gpu_cache_bytes", std::uint64_t{0}) + params.value("host_cache_bytes", std::uint64_t{0});
}

}  // namespace

Json scenario_of(const AdviseInputs& inputs, const Trial& trial) {
  Json workload = inputs.workload;
  workload.update(trial.workload);
  return {{"name", "advise"},
          {"model", inputs.model},
          {"profile", trial.profile.is_null() ? inputs.profile : trial.profile},
          {"software_path", inputs.software_path},
          {"workload", workload},
          {"importance", inputs.importance},
          {"systems", {{{"name", trial.system}, {"params", trial.params}}}},
          {"seed", inputs.seed},
          // Tails without residuals would be those of the requests alone.
          {"noise", inputs.objective != Objective::mean},
          {"range_replicas", 0},
          {"mass_requests", kMassRequests}};
}

Json TrialRunner::simulate(const Trial& trial) {
  Json row = {{"purpose", trial.purpose}, {"system", trial.system}, {"params", trial.params}, {"note", trial.note}};
  try {
    const sim::Scenario scenario = sim::read_scenario(scenario_of(inputs_, trial), "advise", {}, context_);
    const sim::Point& point = scenario.points.front();
    sim::check_inputs(point, shared_);
    sim::RunOptions run{.num_warmup = point.workload.pool.warmup_requests.value_or(0)};
    run.interrupted = options_.interrupted;
    if (sim::warmup_limit(point) > 0) run.num_warmup = sim::warmup_limit(point);
    if (point.workload.is_trace) run.num_warmup = 0;
    const Json result = sim::run_point(point, shared_, run).row;
    const Json& ttft = result.at("ttft").at(statistic_of(inputs_.objective));
    if (ttft.is_null()) {
      throw ConfigError(fmt::format("{} needs more measured requests (p99: 1,000)", statistic_of(inputs_.objective)));
    }
    row["params"] = point.system_params;
    row["ttft_ms"] = ttft;
    row["attention_mass_kept"] = mass_of(result);
    row["cache_bytes"] = cache_bytes_of(point.system_params);
    row["read_bytes_per_request"] = result.at("bytes_per_request").at("requested_bytes");
    row["bottleneck"] = result.at("bottleneck");
    row["verdict"] = result.at("verdict");
  } catch (const ConfigError& error) {
    row["infeasible"] = error.what();
  }
  return row;
}

std::vector<Json> TrialRunner::run(const std::vector<Trial>& trials) {
  const std::size_t first = rows_.size();
  rows_.resize(first + trials.size());
  std::vector<std::size_t> todo;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    if (const Json* done = folder_.row(first + i)) {
      rows_[first + i] = *done;
      if (options_.on_trial) options_.on_trial(first + i);
    } else {
      todo.push_back(i);
    }
  }
  static const std::atomic<bool> never = false;
  std::mutex mutex;
  sim::run_points(
      std::vector<double>(todo.size(), 1.0), options_.jobs,
      [&](std::size_t index) {
        const std::size_t i = todo[index];
        Json row = simulate(trials[i]);
        row["trial"] = first + i;
        folder_.append_row(first + i, "", row);
        const std::lock_guard lock(mutex);
        rows_[first + i] = std::move(row);
        if (options_.on_trial) options_.on_trial(first + i);
      },
      options_.interrupted != nullptr ? *options_.interrupted : never);
  return {rows_.begin() + static_cast<std::ptrdiff_t>(first), rows_.end()};
}

}  // namespace reprefill::study
