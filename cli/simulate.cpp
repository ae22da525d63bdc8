// `reprefill simulate`: one point in detail, without a result folder.
#include "cli/verbs.hpp"
#include "core/base/text_table.hpp"
#include "core/record/timeline.hpp"
#include "sim/simulation/prediction_range.hpp"

namespace reprefill::cli {
namespace {

struct SimulateOptions {
  std::string scenario;
  std::vector<std::string> sets;
  std::size_t point = 0;
  std::string timeline;
  bool json = false;
};

std::string text_of(const Json& value) {
  if (value.is_number_float()) return fmt::format("{:.4g}", value.get<double>());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void print_row(const Json& row) {
  TextTable table({"result", "value"});
  for (const auto& [key, value] : row.items()) {
    if (!value.is_object()) {
      table.add_row({key, text_of(value)});
      continue;
    }
    for (const auto& [inner, number] : value.items()) table.add_row({key + "." + inner, text_of(number)});
  }
  fmt::print("{}", table.to_text());
}

void run(const SimulateOptions& options, const Environment& environment) {
  const sim::Scenario scenario =
      sim::read_scenario(std::filesystem::path(options.scenario), overrides_of(options.sets), environment.scenario);
  if (options.point >= scenario.points.size()) {
    throw ConfigError(fmt::format("--point: found {}; {} has points 0 to {}", options.point, options.scenario,
                                  scenario.points.size() - 1));
  }
  const sim::Point& point = scenario.points[options.point];
  sim::SharedInputs inputs(environment.scenario);
  sim::check_inputs(point, inputs);
  sim::RunOptions run{.num_warmup = point.workload.is_trace ? 0 : point.workload.pool.warmup_requests.value_or(0)};
  if (sim::warmup_limit(point) > 0) run.num_warmup = sim::warmup_needed(point, inputs, {});
  run.keep_spans = !options.timeline.empty();
  sim::RunResult result = sim::run_point(point, inputs, run);
  result.row["range"] = sim::prediction_range(point, inputs, run);
  if (!options.timeline.empty()) record::write_timeline(options.timeline, result.spans);
  if (options.json) {
    fmt::print("{}\n", result.row.dump(2));
  } else {
    print_row(result.row);
  }
}

}  // namespace

void add_simulate(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<SimulateOptions>();
  CLI::App* verb = app.add_subcommand("simulate", "Simulate one point of a scenario and print its result");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON)")->required();
  verb->add_option("--set", options->sets, "path=value: wins over the file");
  verb->add_option("--point", options->point, "Number of the point, as `check --json` lists them (default 0)");
  verb->add_option("--timeline", options->timeline, "Write a Chrome trace of the measured requests to this file");
  verb->add_flag("--json", options->json, "Print the result row as JSON");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
