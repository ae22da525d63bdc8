#include "sim/sweep/sweep.hpp"

#include <chrono>
#include <map>
#include <mutex>

#include "core/base/files.hpp"
#include "core/base/progress.hpp"
#include "core/record/timeline.hpp"
#include "sim/simulation/prediction_range.hpp"
#include "sim/simulation/result_row.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/summary.hpp"
#include "sim/sweep/together.hpp"
#include "sim/sweep/warm_up.hpp"

namespace reprefill::sim {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void refuse_extrapolated(const Point& point, const Json& row) {
  const Json& shapes = row.at("operation_shapes");
  if (shapes.at("extrapolated") == 0) return;
  throw ConfigError(fmt::format(
      "point {} ({}): {} of {} operations of {} have shapes outside what profile {} measured ({}); --strict refuses "
      "them. Calibrate with --model for this model, or take --strict away",
      point.index, point.label, shapes.at("extrapolated").dump(), shapes.at("operations").dump(), point.geometry.name,
      point.profile.name, shapes.at("model").get<std::string>()));
}

class Sweep {
 public:
  Sweep(const Scenario& scenario, SharedInputs& inputs, record::ResultFolder* folder, const SweepOptions& options,
        Distributor& distributor, const std::atomic<bool>& interrupted)
      : scenario_(scenario),
        inputs_(inputs),
        folder_(folder),
        options_(options),
        distributor_(distributor),
        interrupted_(interrupted) {
    REPREFILL_CHECK((folder != nullptr) == distributor.keeps_results(), "a folder where no results are kept");
  }

  SweepSummary run() {
    const auto start = std::chrono::steady_clock::now();
    for (const Point& point : scenario_.points) check_inputs(point, inputs_);
    std::vector<Json> rows(scenario_.points.size());
    const std::vector<std::size_t> mine = points_of_shard(scenario_, options_.shard);
    const std::vector<std::size_t> todo = take_done(mine, rows);
    if (!todo.empty()) {
      count_warmup(todo);
      simulate(todo, rows);
    }
    for (const std::size_t point : mine) summary_.rows.push_back(std::move(rows[point]));
    summary_.wall_s = seconds_since(start);
    if (folder_ != nullptr) finish();
    return std::move(summary_);
  }

 private:
  /// Rows of the journal; the others are left to do, and every process must know the same.
  std::vector<std::size_t> take_done(const std::vector<std::size_t>& mine, std::vector<Json>& rows) {
    std::vector<std::size_t> todo;
    for (const std::size_t point : mine) {
      const Json* done = folder_ != nullptr ? folder_->row(point) : nullptr;
      if (done != nullptr && options_.timeline_point != point) {
        rows[point] = *done;
        ++summary_.num_resumed;
      } else {
        todo.push_back(point);
      }
    }
    return distributor_.from_keeper(todo).get<std::vector<std::size_t>>();
  }

  /// Of every group that has a point to do; all points of the group decide it, whoever does them.
  void count_warmup(const std::vector<std::size_t>& todo) {
    std::map<std::size_t, std::vector<const Point*>> wanted;
    for (const std::size_t point : todo) wanted[scenario_.points[point].group];
    for (const Point& point : scenario_.points) {
      if (const auto found = wanted.find(point.group); found != wanted.end()) found->second.push_back(&point);
    }
    std::vector<std::vector<const Point*>> groups;
    std::vector<double> costs;
    for (const auto& [group, points] : wanted) {
      groups.push_back(points);
      costs.push_back(estimated_cost(*points.front()));
    }
    Json counts(std::vector<std::uint64_t>(groups.size()));
    distributor_.run(
        costs, [&](std::size_t i) -> Json { return shared_warmup(groups[i], inputs_, interrupted_); },
        [&](std::size_t i, Json count) { counts[i] = std::move(count); }, interrupted_);
    counts = distributor_.from_keeper(std::move(counts));
    for (std::size_t i = 0; i < groups.size(); ++i) {
      num_warmup_[groups[i].front()->group] = counts[i].get<std::uint64_t>();
    }
  }

  void simulate(const std::vector<std::size_t>& todo, std::vector<Json>& rows) {
    const auto lots = lots_of_points(scenario_.points, todo, distributor_.num_workers());
    std::vector<double> point_costs, costs;
    std::map<std::size_t, std::size_t> turn;  // point -> its place in `point_costs`
    for (const auto& lot : lots) {
      double& cost = costs.emplace_back(0);
      for (const std::size_t number : lot) {
        const Point& point = scenario_.points[number];
        turn[number] = point_costs.size();
        point_costs.push_back(estimated_cost(point) * static_cast<double>(1 + point.range_replicas));
        cost += point_costs.back();
      }
    }
    const bool quiet = options_.quiet || !distributor_.keeps_results();
    Progress progress(scenario_.name, point_costs, quiet ? ProgressMode::quiet : ProgressMode::automatic);
    std::mutex mutex;
    const OnProgress on_progress = [&](std::size_t point, double share) {
      const std::lock_guard lock(mutex);
      progress.update(turn.at(point), share);
    };
    const auto keep = [&](std::size_t lot, Json results) {
      for (std::size_t i = 0; i < lots[lot].size(); ++i) {
        keep_row(scenario_.points[lots[lot][i]], results.at(i), rows);
        const std::lock_guard lock(mutex);
        progress.done(turn.at(lots[lot][i]));
      }
    };
    distributor_.run(
        costs, [&](std::size_t lot) { return simulate_lot(lots[lot], on_progress); }, keep, interrupted_);
  }

  using OnProgress = std::function<void(std::size_t point, double share)>;

  void keep_row(const Point& point, Json& result, std::vector<Json>& rows) {
    Json& row = rows[point.index] = std::move(result.at("row"));
    if (folder_->row(point.index) == nullptr) folder_->append_row(point.index, inputs_hash(point), row);
    summary_.num_events += result.at("events").get<std::uint64_t>();
    summary_.virtual_s += result.at("virtual_s").get<double>();
  }

  /// One entry for each point of the lot.
  Json simulate_lot(const std::vector<std::size_t>& lot, const OnProgress& on_progress) {
    std::vector<RunMember> members;
    for (const std::size_t number : lot) {
      const Point& point = scenario_.points[number];
      RunMember& member = members.emplace_back(RunMember{.point = &point, .options = options_of(point)});
      // The row's own run, then those of its range: each is as long.
      const double own_share = 1.0 / static_cast<double>(1 + point.range_replicas);
      member.options.on_progress = [&on_progress, number, own_share](double share) {
        on_progress(number, own_share * share);
      };
    }
    std::vector<RunResult> results = run_together(members, inputs_);
    Json entries = Json::array();
    for (std::size_t i = 0; i < members.size(); ++i) {
      entries.push_back(entry_of(*members[i].point, std::move(results[i]), on_progress));
    }
    return entries;
  }

  RunOptions options_of(const Point& point) const {
    return {.num_warmup = num_warmup_.at(point.group),
            .keep_spans = options_.timeline_point == point.index,
            .interrupted = &interrupted_};
  }

  Json entry_of(const Point& point, RunResult result, const OnProgress& on_progress) {
    RunOptions run = options_of(point);
    const double own_share = 1.0 / static_cast<double>(1 + point.range_replicas);
    run.on_progress = [&](double share) { on_progress(point.index, own_share + (1 - own_share) * share); };
    result.row["range"] = prediction_range(point, inputs_, run);
    result.row["scenario"] = scenario_.name;
    if (options_.strict) refuse_extrapolated(point, result.row);
    if (run.keep_spans) record::write_timeline(folder_->path() / "timeline.json", result.spans);
    return {
        {"row", std::move(result.row)}, {"events", result.num_events}, {"virtual_s", to_seconds(result.virtual_time)}};
  }

  void finish() {
    const Json run = {{"wall_s", summary_.wall_s},
                      {"jobs", distributor_.num_workers()},
                      {"points", summary_.rows.size()},
                      {"resumed_points", summary_.num_resumed},
                      {"events", summary_.num_events},
                      {"events_per_s", static_cast<double>(summary_.num_events) / summary_.wall_s},
                      {"virtual_over_wall", summary_.virtual_s / summary_.wall_s}};
    if (options_.shard.count > 1) {
      write_file_atomically(folder_->path() / "run.json", run.dump(2) + "\n");
      return;
    }
    folder_->finish(summary_.rows,
                    make_summary(scenario_.name, scenario_.description, scenario_.axis_names, summary_.rows), run);
  }

  const Scenario& scenario_;
  SharedInputs& inputs_;
  record::ResultFolder* folder_;
  const SweepOptions& options_;
  Distributor& distributor_;
  const std::atomic<bool>& interrupted_;
  std::map<std::size_t, std::uint64_t> num_warmup_;  // by group
  SweepSummary summary_;
};

}  // namespace

Json resolved_inputs(const Scenario& scenario, SharedInputs& inputs, const Shard& shard) {
  Json resolved = {{"schema_version", 1},
                   {"row_schema_version", kRowSchemaVersion},
                   {"scenario", scenario.resolved},
                   {"points", Json::array()}};
  for (const Point& point : scenario.points) {
    resolved["points"].push_back({{"label", point.label},
                                  {"axes", point.axes},
                                  {"resolved", point.resolved},
                                  {"trace_digest", inputs.trace_digest(point)}});
  }
  if (shard.count > 1) resolved["shard"] = shard_description(scenario, shard);
  return resolved;
}

SweepSummary run_sweep(const Scenario& scenario, SharedInputs& inputs, record::ResultFolder* folder,
                       const SweepOptions& options, Distributor& distributor, const std::atomic<bool>& interrupted) {
  return Sweep(scenario, inputs, folder, options, distributor, interrupted).run();
}

}  // namespace reprefill::sim
