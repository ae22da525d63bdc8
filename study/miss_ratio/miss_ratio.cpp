#include "study/miss_ratio/miss_ratio.hpp"

#include <algorithm>

#include "core/base/nearest_name.hpp"
#include "core/base/text_table.hpp"
#include "core/cache/eviction/registry.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/warm_up.hpp"
#include "study/miss_ratio/belady.hpp"

namespace reprefill::study {
namespace {

using cache::Decision;
using sim::Point;

const Point& chosen_point(const sim::Scenario& scenario, const std::string& label) {
  std::vector<std::string> labels;
  for (const Point& point : scenario.points) {
    if (point.label == label) return point;
    if (std::find(labels.begin(), labels.end(), point.label) == labels.end()) labels.push_back(point.label);
  }
  throw ConfigError(
      fmt::format("--system: {} has no system \"{}\"{}", scenario.name, label, nearest_and_allowed(label, labels)));
}

std::vector<std::string> checked_policies(std::vector<std::string> wanted) {
  std::vector<std::string> known;
  for (const cache::PolicyInfo& policy : cache::eviction_policies()) known.push_back(policy.name);
  if (wanted.empty()) return known;
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw ConfigError(fmt::format("--policies: no policy \"{}\"{}", name, nearest_and_allowed(name, known)));
    }
  }
  return wanted;
}

double working_set_bytes(const Point& point, std::uint64_t num_warmup, sim::SharedInputs& inputs) {
  const auto any_time = [](std::uint32_t) { return Nanoseconds{1}; };  // arrivals do not matter here
  return static_cast<double>(sim::make_request_plan(point, num_warmup, inputs, any_time)->working_set().value);
}

Point with_cache(const Point& point, const std::string& policy, Bytes capacity) {
  const auto bytes = [&](const char* key) { return point.system_params.at(key).get<double>(); };
  const double gpu_share = bytes("gpu_cache_bytes") / (bytes("gpu_cache_bytes") + bytes("host_cache_bytes"));
  Point changed = point;
  changed.mass_requests = 0;
  const auto gpu = static_cast<std::uint64_t>(gpu_share * static_cast<double>(capacity.value));
  changed.system_params["cache_policy"] = policy;
  changed.system_params["gpu_cache_bytes"] = gpu;
  changed.system_params["host_cache_bytes"] = capacity.value - gpu;
  // Buffers inside the tiers would make small caches smaller than they say.
  for (const char* key : {"prefetch_gpu_bytes", "prefetch_host_bytes"}) {
    if (changed.system_params.contains(key)) changed.system_params[key] = 0;
  }
  if (changed.system_params.contains("identify_cache")) changed.system_params["identify_cache"] = "none";
  return changed;
}

/// A piece was wanted: found in a tier, or loaded, whether it then entered one or not.
bool is_access(Decision decision) {
  return decision == Decision::hit_gpu || decision == Decision::hit_host || decision == Decision::entered_gpu ||
         decision == Decision::entered_host || decision == Decision::bypassed;
}
bool is_hit(Decision decision) { return decision == Decision::hit_gpu || decision == Decision::hit_host; }

double ratio_of(std::uint64_t misses, std::uint64_t accesses) {
  return accesses > 0 ? static_cast<double>(misses) / static_cast<double>(accesses) : 0;
}

struct Counted {
  std::uint64_t accesses = 0;
  std::uint64_t misses = 0;
  std::uint64_t belady_misses = 0;
};

Counted count(const sim::RunResult& run, Bytes capacity, bool wants_belady) {
  Counted counted;
  std::vector<Access> accesses;
  std::size_t first_counted = 0;
  for (std::size_t i = 0; i < run.decisions.size(); ++i) {
    const cache::Move& decision = run.decisions[i];
    if (i <= run.first_measured_decision) first_counted = accesses.size();
    if (!is_access(decision.decision)) continue;
    if (wants_belady) accesses.push_back({decision.key.packed, decision.bytes});
    if (i < run.first_measured_decision) continue;
    ++counted.accesses;
    counted.misses += !is_hit(decision.decision);
  }
  if (run.first_measured_decision >= run.decisions.size()) first_counted = accesses.size();
  if (wants_belady) counted.belady_misses = belady_misses(accesses, capacity, first_counted).count;
  return counted;
}

}  // namespace

MissRatios miss_ratios(const sim::Scenario& scenario, sim::SharedInputs& inputs, const MissRatioOptions& options,
                       const std::atomic<bool>& interrupted) {
  const Point& point = chosen_point(scenario, options.system);
  if (!point.system_params.contains("cache_policy")) {
    throw ConfigError(fmt::format("--system: {} keeps no cache", options.system));
  }
  if (point.workload.max_in_flight() > 1) {
    throw ConfigError("in_flight: a miss-ratio curve needs one request in flight; add --set workload.in_flight=1");
  }
  MissRatios result{.policies = checked_policies(options.policies), .rows = {}};
  const std::uint64_t num_warmup = sim::shared_warmup({&point}, inputs, interrupted);
  const double working_set = working_set_bytes(point, num_warmup, inputs);
  std::vector<Point> points;
  std::vector<double> costs;
  for (const double size : options.sizes) {
    result.rows.push_back({.size = size,
                           .capacity = Bytes{static_cast<std::uint64_t>(size * working_set)},
                           .miss_ratio = std::vector<double>(result.policies.size())});
    for (const std::string& policy : result.policies) {
      points.push_back(with_cache(point, policy, result.rows.back().capacity));
      costs.push_back(sim::estimated_cost(points.back()));
    }
  }
  sim::run_points(
      costs, options.jobs,
      [&](std::size_t i) {
        const std::size_t policy = i % result.policies.size();
        MissRatioRow& row = result.rows[i / result.policies.size()];
        const sim::RunResult run = sim::run_point(
            points[i], inputs, {.num_warmup = num_warmup, .keep_decisions = true, .interrupted = &interrupted});
        const Counted counted = count(run, row.capacity, policy == 0);
        row.miss_ratio[policy] = ratio_of(counted.misses, counted.accesses);
        if (policy != 0) return;
        row.accesses = counted.accesses;
        row.belady = ratio_of(counted.belady_misses, counted.accesses);
      },
      interrupted);
  return result;
}

std::string miss_ratio_text(const MissRatios& ratios) {
  std::vector<std::string> header = {"size %", "MB"};
  header.insert(header.end(), ratios.policies.begin(), ratios.policies.end());
  header.insert(header.end(), {"belady", "best gap"});
  TextTable table(header);
  for (const MissRatioRow& row : ratios.rows) {
    std::vector<std::string> line = {fmt::format("{:g}", 100 * row.size),
                                     fmt::format("{:.1f}", static_cast<double>(row.capacity.value) / 1e6)};
    for (const double ratio : row.miss_ratio) line.push_back(fmt::format("{:.4f}", ratio));
    line.push_back(fmt::format("{:.4f}", row.belady));
    line.push_back(fmt::format("{:.4f}", *std::min_element(row.miss_ratio.begin(), row.miss_ratio.end()) - row.belady));
    table.add_row(line);
  }
  return table.to_text();
}

Json miss_ratio_json(const MissRatios& ratios) {
  Json json = {{"schema_version", 1}, {"rows", Json::array()}};
  for (const MissRatioRow& row : ratios.rows) {
    Json entry = {{"size", row.size}, {"capacity_bytes", row.capacity.value}, {"accesses", row.accesses}};
    for (std::size_t i = 0; i < ratios.policies.size(); ++i)
      entry["miss_ratio"][ratios.policies[i]] = row.miss_ratio[i];
    entry["belady"] = row.belady;
    json["rows"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace reprefill::study
