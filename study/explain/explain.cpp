#include "study/explain/explain.hpp"

#include <algorithm>

#include "core/base/nearest_name.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/warm_up.hpp"

namespace reprefill::study {
namespace {

using sim::Point;
using sim::Scenario;

std::vector<std::string> labels_of(const Scenario& scenario) {
  std::vector<std::string> labels;
  for (const Point& point : scenario.points) {
    if (std::find(labels.begin(), labels.end(), point.label) == labels.end()) labels.push_back(point.label);
  }
  return labels;
}

const Point& chosen_point(const Scenario& scenario, const ExplainOptions& options) {
  if (options.point) {
    if (*options.point < scenario.points.size()) return scenario.points[*options.point];
    throw ConfigError(fmt::format("--point: found {}; {} has points 0 to {}", *options.point, scenario.name,
                                  scenario.points.size() - 1));
  }
  const std::string wanted = options.system.empty() ? "contiguous_kv" : options.system;
  for (const Point& point : scenario.points) {
    if (point.label == wanted) return point;
  }
  if (options.system.empty()) return scenario.points.front();
  throw ConfigError(fmt::format("--system: {} has no system \"{}\"{}", scenario.name, wanted,
                                nearest_and_allowed(wanted, labels_of(scenario))));
}

/// Equal in every axis that both systems declare.
bool same_settings(const Point& a, const Point& b) {
  if (a.replica != b.replica || a.group != b.group) return false;
  for (const auto& [axis, value] : a.axes.items()) {
    if (value.is_null() || !b.axes.contains(axis) || b.axes.at(axis).is_null()) continue;
    if (b.axes.at(axis) != value) return false;
  }
  return true;
}

/// The first point of each other system with the same settings.
std::vector<const Point*> counterparts(const Scenario& scenario, const Point& chosen) {
  std::vector<const Point*> found;
  for (const std::string& label : labels_of(scenario)) {
    if (label == chosen.label) continue;
    const auto other = std::find_if(scenario.points.begin(), scenario.points.end(), [&](const Point& point) {
      return point.label == label && same_settings(chosen, point);
    });
    if (other != scenario.points.end()) found.push_back(&*other);
  }
  return found;
}

std::uint64_t warmup_of(const Scenario& scenario, const Point& chosen, sim::SharedInputs& inputs,
                        const std::atomic<bool>& interrupted) {
  std::vector<const Point*> group;
  for (const Point& point : scenario.points) {
    if (point.group == chosen.group) group.push_back(&point);
  }
  return sim::shared_warmup(group, inputs, interrupted);
}

ServedRequest serve(const Point& point, sim::SharedInputs& inputs, std::uint64_t num_warmup, std::uint64_t request,
                    const std::atomic<bool>& interrupted) {
  const sim::RunOptions options{.num_warmup = num_warmup, .only_request = request, .interrupted = &interrupted};
  sim::RunResult run = sim::run_point(point, inputs, options);
  if (!run.recorded) {
    throw ConfigError(fmt::format("--request: found {}; the run measures requests 0 to {}", request,
                                  run.num_requests - num_warmup - 1));
  }
  ServedRequest served{.point = point, .recorded = std::move(*run.recorded), .time = {}, .path = {}};
  const sim::MeasuredRequest& times = served.recorded.times;
  served.time = record::classify_time(times.arrival, times.admission, times.first_token, served.recorded.spans);
  served.path = record::critical_path(times.arrival, times.admission, times.first_token, served.recorded.spans);
  return served;
}

}  // namespace

Explanation explain(const Scenario& scenario, sim::SharedInputs& inputs, const ExplainOptions& options,
                    const std::atomic<bool>& interrupted) {
  const Point& chosen = chosen_point(scenario, options);
  std::vector<Point> points = {chosen};
  for (const Point* other : counterparts(scenario, chosen)) points.push_back(*other);
  const std::size_t num_systems = points.size();
  std::vector<WhatIf> changes = what_ifs(chosen);
  for (const WhatIf& change : changes) points.push_back(change.point);
  for (const Point& point : points) sim::check_inputs(point, inputs);

  Explanation result;
  result.request = options.request;
  result.num_warmup = warmup_of(scenario, chosen, inputs, interrupted);
  std::vector<double> costs;
  for (const Point& point : points) costs.push_back(sim::estimated_cost(point));
  std::vector<ServedRequest> served(points.size());
  sim::run_points(
      costs, options.jobs,
      [&](std::size_t i) { served[i] = serve(points[i], inputs, result.num_warmup, options.request, interrupted); },
      interrupted);

  result.served = std::move(served.front());
  for (std::size_t i = 1; i < num_systems; ++i) result.others.push_back(std::move(served[i]));
  for (std::size_t i = 0; i < changes.size(); ++i) {
    result.changes.push_back({std::move(changes[i]), served[num_systems + i].ttft()});
  }
  std::stable_sort(result.changes.begin(), result.changes.end(), [](const ChangeResult& a, const ChangeResult& b) {
    return a.what_if.floor != b.what_if.floor ? b.what_if.floor : a.ttft < b.ttft;
  });
  return result;
}

}  // namespace reprefill::study
