#include "study/tornado/tornado.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/nearest_name.hpp"
#include "sim/scenario/axes.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/warm_up.hpp"

namespace reprefill::study {
namespace {

using sim::Point;
using sim::Scenario;

const Point& first_point(const Scenario& scenario, const std::string& label, const char* option) {
  std::vector<std::string> labels;
  for (const Point& point : scenario.points) {
    if (point.label == label) return point;
    if (std::find(labels.begin(), labels.end(), point.label) == labels.end()) labels.push_back(point.label);
  }
  throw ConfigError(
      fmt::format("{}: {} has no system \"{}\"{}", option, scenario.name, label, nearest_and_allowed(label, labels)));
}

/// The scenario without axes: those that are keys of scenarios set to the point's value, those of systems in their
/// parameters.
Json held_scenario(const Scenario& scenario, const std::vector<const Point*>& points) {
  static const Json kKeys = sim::scenario_schema().at("properties");
  Json json = scenario.resolved;
  for (const char* key : {"axes", "zipped_axes", "repeats"}) json.erase(key);
  const auto is_scenario_key = [](const std::string& path) { return kKeys.contains(path.substr(0, path.find('.'))); };
  for (const auto& [path, value] : points.front()->axes.items()) {
    if (is_scenario_key(path)) sim::set_path(json, path, value);
  }
  const Json entries = json.at("systems");
  json["systems"] = Json::array();
  for (const Point* point : points) {
    Json params = Json::object();
    for (const Json& entry : entries) {
      if (!entry.is_object()) continue;
      const std::string label = entry.value("label", entry.at("name").get<std::string>());
      if (label == point->label && entry.contains("params")) params = entry.at("params");
    }
    for (const auto& [path, value] : point->axes.items()) {
      if (!is_scenario_key(path) && !value.is_null()) sim::set_path(params, path, value);
    }
    json["systems"].push_back({{"name", point->system}, {"label", point->label}, {"params", params}});
  }
  return json;
}

/// What is simulated for one reading: the system, and the baseline where there is one.
struct Job {
  std::size_t bar = 0;
  Json value;
  Scenario scenario;
};

TornadoRun simulate(const Scenario& scenario, sim::SharedInputs& inputs, const std::atomic<bool>& interrupted) {
  std::vector<const Point*> group;
  for (const Point& point : scenario.points) group.push_back(&point);
  const std::uint64_t num_warmup = sim::shared_warmup(group, inputs, interrupted);
  const auto mean_ttft_ms = [&](const Point& point) {
    const sim::RunOptions options{.num_warmup = num_warmup, .interrupted = &interrupted};
    return sim::run_point(point, inputs, options).row.at("ttft").at("mean_ttft_ms").get<double>();
  };
  TornadoRun run{.ttft_ms = mean_ttft_ms(scenario.points.front())};
  if (scenario.points.size() > 1) run.over_ms = mean_ttft_ms(scenario.points.back());
  return run;
}

double change(const TornadoRun& base, const TornadoRun& run) {
  return base.over_ms > 0 ? run.speed_up() / base.speed_up() - 1 : run.ttft_ms / base.ttft_ms - 1;
}

/// The overrides that set a reading: of one system only where the assumption concerns some.
std::vector<sim::Override> overrides_for(const Assumption& assumption, const Json& value,
                                         const std::vector<const Point*>& points) {
  if (assumption.only.empty()) return {{.path = assumption.path, .values = {value}}};
  std::vector<sim::Override> overrides;
  for (const Point* point : points) {
    if (std::find(assumption.only.begin(), assumption.only.end(), point->system) == assumption.only.end()) continue;
    overrides.push_back({.path = fmt::format("systems.{}.{}", point->label, assumption.path), .values = {value}});
  }
  return overrides;
}

}  // namespace

std::vector<Assumption> read_assumptions(const JsonValue& file) {
  file.require_object().refuse_unknown_keys({"schema_version", "description", "assumptions"});
  file.key("schema_version").as_integer(1, 1, "");
  const JsonValue list = file.key("assumptions").require_array();
  std::vector<Assumption> assumptions;
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    const JsonValue value = list.element(i).require_object();
    value.refuse_unknown_keys({"id", "what", "set", "values", "only", "not_varied"});
    Assumption assumption{.id = value.key("id").as_string(), .what = value.key("what").as_string()};
    if (value.has("not_varied")) {
      assumption.not_varied = value.key("not_varied").as_string();
    } else {
      assumption.path = value.key("set").as_string();
      const JsonValue values = value.key("values").require_array();
      if (values.json().empty()) values.fail("empty: a reading other than the default is needed");
      for (const Json& reading : values.json()) assumption.values.push_back(reading);
      if (value.has("only")) {
        const JsonValue only = value.key("only").require_array();
        for (std::size_t j = 0; j < only.json().size(); ++j) assumption.only.push_back(only.element(j).as_string());
      }
    }
    assumptions.push_back(std::move(assumption));
  }
  return assumptions;
}

Tornado tornado(const std::filesystem::path& scenario_file, const std::vector<sim::Override>& overrides,
                const std::vector<Assumption>& assumptions, const TornadoOptions& options,
                const sim::ScenarioContext& context, const std::atomic<bool>& interrupted) {
  const std::string origin = scenario_file.string();
  const Scenario whole = sim::read_scenario(scenario_file, overrides, context);
  std::vector<const Point*> points = {&first_point(whole, options.system, "--system")};
  if (!options.over.empty()) points.push_back(&first_point(whole, options.over, "--over"));
  const Json held = held_scenario(whole, points);

  Tornado result;
  result.settings = points.front()->axes;
  std::vector<Job> jobs = {{.bar = 0, .value = {}, .scenario = sim::read_scenario(held, origin, {}, context)}};
  for (const Assumption& assumption : assumptions) {
    if (!assumption.not_varied.empty()) {
      result.not_varied.push_back(assumption);
      continue;
    }
    TornadoBar bar{.assumption = assumption, .readings = {}};
    std::string refused;
    for (const Json& value : assumption.values) {
      const std::vector<sim::Override> set = overrides_for(assumption, value, points);
      if (set.empty()) {
        refused = "concerns neither system";
        break;
      }
      try {
        jobs.push_back({result.bars.size(), value, sim::read_scenario(held, origin, set, context)});
      } catch (const ConfigError& error) {
        refused = error.what();
        break;
      }
    }
    if (refused.empty()) {
      result.bars.push_back(std::move(bar));
      continue;
    }
    std::erase_if(jobs, [&](const Job& job) { return &job != &jobs.front() && job.bar == result.bars.size(); });
    result.not_varied.push_back(assumption);
    result.not_varied.back().not_varied = refused;
  }

  sim::SharedInputs inputs(context);
  std::vector<double> costs;
  for (const Job& job : jobs) {
    double cost = 0;
    for (const Point& point : job.scenario.points) {
      sim::check_inputs(point, inputs);
      cost += sim::estimated_cost(point);
    }
    costs.push_back(cost);
  }
  std::vector<TornadoRun> runs(jobs.size());
  sim::run_points(
      costs, options.jobs, [&](std::size_t i) { runs[i] = simulate(jobs[i].scenario, inputs, interrupted); },
      interrupted);
  result.base = runs.front();
  for (std::size_t i = 1; i < jobs.size(); ++i) {
    TornadoBar& bar = result.bars[jobs[i].bar];
    bar.readings.push_back({jobs[i].value, runs[i]});
    bar.swing = std::max(bar.swing, std::abs(change(result.base, runs[i])));
  }
  std::stable_sort(result.bars.begin(), result.bars.end(),
                   [](const TornadoBar& a, const TornadoBar& b) { return a.swing > b.swing; });
  return result;
}

}  // namespace reprefill::study
