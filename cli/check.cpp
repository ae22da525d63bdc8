// `reprefill check`: reads a scenario and says what would be simulated, or what is wrong with it.
#include <set>

#include "cli/verbs.hpp"
#include "sim/simulation/run_point.hpp"

namespace reprefill::cli {
namespace {

struct CheckOptions {
  std::string scenario;
  std::vector<std::string> sets;
  bool json = false;
};

/// What is in memory, each plan once with the first point that has it.
void print_memory(const sim::Scenario& scenario) {
  std::set<std::string> seen;
  for (const sim::Point& point : scenario.points) {
    const std::string plan =
        sim::plan_memory(point.geometry, point.weights, point.system_params, point.profile.gpu.memory).to_text();
    if (!seen.insert(plan).second) continue;
    fmt::print("memory of {} on {}, {}:\n{}", point.label, point.profile.gpu.name, point.geometry.name, plan);
  }
}

void run(const CheckOptions& options, const Environment& environment) {
  const sim::Scenario scenario =
      sim::read_scenario(std::filesystem::path(options.scenario), overrides_of(options.sets), environment.scenario);
  sim::SharedInputs inputs(environment.scenario);
  for (const sim::Point& point : scenario.points) sim::check_inputs(point, inputs);
  if (options.json) {
    Json points = Json::array();
    for (const sim::Point& point : scenario.points) {
      points.push_back(
          {{"point", point.index}, {"label", point.label}, {"axes", point.axes}, {"resolved", point.resolved}});
    }
    fmt::print("{}\n", Json{{"name", scenario.name}, {"points", points}}.dump(2));
    return;
  }
  fmt::print("{}: {} is sound: {} points\n", options.scenario, scenario.name, scenario.points.size());
  std::map<std::string, std::size_t> by_label;
  for (const sim::Point& point : scenario.points) ++by_label[point.label];
  for (const auto& [label, count] : by_label) fmt::print("  {:<24} {} points\n", label, count);
  print_memory(scenario);
}

}  // namespace

void add_check(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* verb = app.add_subcommand("check", "Check a scenario without running it");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON)")->required();
  verb->add_option("--set", options->sets, "path=value or path=v1,v2: wins over the file");
  verb->add_flag("--json", options->json, "Print every resolved point");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
