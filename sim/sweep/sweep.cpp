#include "sim/sweep/sweep.hpp"

#include <chrono>
#include <map>

#include "core/base/progress.hpp"
#include "core/record/timeline.hpp"
#include "sim/simulation/result_row.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/summary.hpp"
#include "sim/sweep/warm_up.hpp"

namespace reprefill::sim {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// By group number.
std::vector<std::uint64_t> warmup_counts(const Scenario& scenario, SharedInputs& inputs, const SweepOptions& options,
                                         const std::atomic<bool>& interrupted) {
  std::map<std::size_t, std::vector<const Point*>> groups;
  for (const Point& point : scenario.points) groups[point.group].push_back(&point);
  std::vector<double> costs;
  for (const auto& [group, points] : groups) costs.push_back(estimated_cost(*points.front()));
  std::vector<std::uint64_t> counts(groups.size());
  run_points(
      costs, options.jobs,
      [&](std::size_t group) { counts[group] = shared_warmup(groups.at(group), inputs, interrupted); }, interrupted);
  return counts;
}

Json make_summary(const Scenario& scenario, const std::vector<Json>& rows) {
  Json summary = {{"schema_version", 1}, {"name", scenario.name}, {"description", scenario.description}};
  summary["axes"] = scenario.axis_names;
  summary["points"] = Json::array();
  for (const Json& row : summarise_replicas(rows)) summary["points"].push_back(row);
  return summary;
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
    costs.push_back(estimated_cost(point));
  }
  if (!todo.empty()) {
    const std::vector<std::uint64_t> num_warmup = warmup_counts(scenario, inputs, options, interrupted);
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
                                       {.num_warmup = num_warmup[point.group],
                                        .stop_when_full = false,
                                        .keep_spans = wants_timeline,
                                        .interrupted = &interrupted,
                                        .on_progress = on_progress});
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
