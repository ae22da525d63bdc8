// `reprefill explain`: why one request took as long as it did.
#include "cli/verbs.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "study/explain/explain_report.hpp"

namespace reprefill::cli {
namespace {

struct ExplainVerbOptions {
  std::string scenario;
  std::vector<std::string> sets;
  std::optional<std::size_t> point;
  study::ExplainOptions explain;
  bool json = false;
  bool steps = false;
};

void run(ExplainVerbOptions options, const Environment& environment) {
  const sim::Scenario scenario =
      sim::read_scenario(std::filesystem::path(options.scenario), overrides_of(options.sets), environment.scenario);
  options.explain.point = options.point;
  if (options.explain.jobs == 0) options.explain.jobs = sim::num_usable_cores();
  sim::SharedInputs inputs(environment.scenario);
  const sim::InterruptGuard interrupt;
  const study::Explanation explanation = study::explain(scenario, inputs, options.explain, interrupt.flag());
  if (options.json) {
    fmt::print("{}\n", study::explanation_json(explanation, options.steps).dump(2));
  } else {
    fmt::print("{}", study::explanation_text(explanation));
  }
}

}  // namespace

void add_explain(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<ExplainVerbOptions>();
  options->explain.jobs = 0;
  CLI::App* verb =
      app.add_subcommand("explain", "Explain one request: critical path, floor, what would have to change");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON)")->required();
  verb->add_option("--set", options->sets, "path=value: wins over the file");
  verb->add_option("--request", options->explain.request, "Which of the measured requests, from 0 (default 0)");
  CLI::Option* system = verb->add_option("--system", options->explain.system,
                                         "The system to explain, by its label (default contiguous_kv)");
  verb->add_option("--point", options->point, "Number of the point instead, as `check --json` lists them")
      ->excludes(system);
  verb->add_option("--jobs", options->explain.jobs,
                   "Runs simulated at the same time (default: the cores that this process may use)")
      ->check(CLI::Range(1, 4096));
  CLI::Option* json = verb->add_flag("--json", options->json, "Machine-readable");
  verb->add_flag("--steps", options->steps, "With --json: every step of the critical path")->needs(json);
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
