#include "sim/sweep/sweep.hpp"

#include <algorithm>
#include <chrono>
#include <map>

#include "core/base/progress.hpp"
#include "core/record/timeline.hpp"
#include "sim/simulation/result_row.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/summary.hpp"

namespace reprefill::sim {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Warm-up counts: the same for every system and parameter setting of a group, the largest that one of them needs.
class WarmUp {
 public:
  WarmUp(const Scenario& scenario, SharedInputs& inputs, const SweepOptions& options,
         const std::atomic<bool>& interrupted)
      : inputs_(inputs), interrupted_(interrupted) {
    std::map<std::size_t, std::vector<const Point*>> groups;
    for (const Point& point : scenario.points) groups[point.group].push_back(&point);
    std::vector<std::vector<const Point*>> members;
    std::vector<double> costs;
    for (auto& [group, points] : groups) {
      costs.push_back(estimated_cost(*points.front(), inputs));
      members.push_back(std::move(points));
    }
    counts_.resize(members.size());
    run_points(
        costs, options.jobs, [&](std::size_t group) { counts_[group] = count(members[group]); }, interrupted);
  }

  std::uint64_t of(const Point& point) const { return counts_[point.group]; }

 private:
  std::uint64_t count(std::vector<const Point*> points) const {
    const Point& any = *points.front();
    if (any.workload.is_trace) return 0;
    if (any.workload.pool.warmup_requests) return *any.workload.pool.warmup_requests;
    // The smallest budget fills the tiers last: once one point needs the limit, so do all.
    std::stable_sort(points.begin(), points.end(), [&](const Point* a, const Point* b) {
      return estimated_cost(*a, inputs_) < estimated_cost(*b, inputs_);
    });
    std::uint64_t needed = 0;
    for (const Point* point : points) {
      if (!point->system_params.contains("gpu_cache_bytes")) continue;
      needed = std::max(needed, warmup_needed(*point, inputs_, {.interrupted = &interrupted_}));
      if (needed >= warmup_limit(*point)) break;
    }
    return needed;
  }

  SharedInputs& inputs_;
  const std::atomic<bool>& interrupted_;
  std::vector<std::uint64_t> counts_;
};

Json make_summary(const Scenario& scenario, const std::vector<Json>& rows) {
  Json summary = {{"schema_version", 1}, {"name", scenario.name}, {"description", scenario.description}};
  summary["axes"] = scenario.axis_names;
  summary["points"] = Json::array();
  for (const Json& row : summarise_replicas(rows)) summary["points"].push_back(row);
  return summary;
}

}  // namespace

double estimated_cost(const Point& point, const SharedInputs&) {
  double requests = 0, tokens = 0;
  if (point.workload.is_trace) {
    requests = point.workload.trace.max_requests > 0 ? static_cast<double>(point.workload.trace.max_requests) : 7000;
    tokens = 6000;
  } else {
    requests = static_cast<double>(point.workload.pool.measured_requests + warmup_limit(point));
    tokens = point.workload.pool.prefix_tokens;
  }
  // Token-level scoring and 64-token objects of every layer cost most; per token and layer, by measurement.
  static const std::map<std::string, double> kWeight = {{"recompute", 0.01},      {"resident", 0.01},
                                                        {"attention_store", 1.0}, {"as_h2o", 8.0},
                                                        {"impress", 6.0},         {"contiguous_kv", 0.4}};
  const auto weight = kWeight.find(point.system);
  return requests * tokens * point.geometry.num_layers * (weight == kWeight.end() ? 1.0 : weight->second);
}

namespace {

void refuse_extrapolated(const Point& point, const Json& row) {
  const Json& shapes = row.at("operation_shapes");
  if (shapes.at("extrapolated") == 0) return;
  throw ConfigError(fmt::format(
      "point {} ({}): {} of {} operations of {} have shapes outside what profile {} measured ({}); --strict refuses "
      "them. Calibrate with --model for this model, or take --strict away",
      point.index, point.label, shapes.at("extrapolated").dump(), shapes.at("operations").dump(), point.geometry.name,
      point.profile.name, shapes.at("model").get<std::string>()));
}

}  // namespace

SweepSummary run_sweep(const Scenario& scenario, SharedInputs& inputs, record::ResultFolder& folder,
                       const SweepOptions& options, const std::atomic<bool>& interrupted) {
  const auto start = std::chrono::steady_clock::now();
  for (const Point& point : scenario.points) check_inputs(point, inputs);
  SweepSummary summary;
  summary.rows.resize(scenario.points.size());
  std::vector<const Point*> todo;
  std::vector<double> costs;
  for (const Point& point : scenario.points) {
    const bool wants_timeline = options.timeline_point == point.index;
    if (const Json* done = folder.row(point.index); done != nullptr && !wants_timeline) {
      summary.rows[point.index] = *done;
      ++summary.num_resumed;
      continue;
    }
    todo.push_back(&point);
    costs.push_back(estimated_cost(point, inputs));
  }
  if (!todo.empty()) {
    const WarmUp warm_up(scenario, inputs, options, interrupted);
    Progress progress(scenario.name, costs, options.quiet ? ProgressMode::quiet : ProgressMode::automatic);
    std::mutex mutex;
    run_points(
        costs, options.jobs,
        [&](std::size_t index) {
          const Point& point = *todo[index];
          const bool wants_timeline = options.timeline_point == point.index;
          const auto on_progress = [&](double share) {
            const std::lock_guard lock(mutex);
            progress.update(index, share);
          };
          RunResult result = run_point(point, inputs,
                                       {.num_warmup = warm_up.of(point),
                                        .stop_when_full = false,
                                        .keep_spans = wants_timeline,
                                        .interrupted = &interrupted,
                                        .on_progress = on_progress});
          if (options.strict) refuse_extrapolated(point, result.row);
          result.row["scenario"] = scenario.name;
          if (wants_timeline) record::write_timeline(folder.path() / "timeline.json", result.spans);
          if (folder.row(point.index) == nullptr) folder.append_row(point.index, inputs_hash(point), result.row);
          const std::lock_guard lock(mutex);
          summary.rows[point.index] = std::move(result.row);
          summary.num_events += result.num_events;
          summary.virtual_s += to_seconds(result.virtual_time);
          progress.done(index);
        },
        interrupted);
  }
  summary.wall_s = seconds_since(start);
  const Json run = {{"wall_s", summary.wall_s},
                    {"jobs", options.jobs},
                    {"points", scenario.points.size()},
                    {"resumed_points", summary.num_resumed},
                    {"events", summary.num_events},
                    {"events_per_s", static_cast<double>(summary.num_events) / summary.wall_s},
                    {"virtual_over_wall", summary.virtual_s / summary.wall_s}};
  folder.finish(summary.rows, make_summary(scenario, summary.rows), run);
  return summary;
}

}  // namespace reprefill::sim
