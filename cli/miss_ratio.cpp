// `reprefill miss-ratio`: cache policies over sizes, beside a cache that knows the future.
#include "study/miss_ratio/miss_ratio.hpp"
#include "cli/verbs.hpp"
#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::cli {
namespace {

struct MissRatioVerbOptions {
  std::string scenario;
  std::vector<std::string> sets;
  study::MissRatioOptions ratios;
  bool json = false;
};

void run(MissRatioVerbOptions options, const Environment& environment) {
  const sim::Scenario scenario =
      sim::read_scenario(std::filesystem::path(options.scenario), overrides_of(options.sets), environment.scenario);
  if (options.ratios.jobs == 0) options.ratios.jobs = sim::num_usable_cores();
  sim::SharedInputs inputs(environment.scenario);
  const sim::InterruptGuard interrupt;
  const study::MissRatios ratios = study::miss_ratios(scenario, inputs, options.ratios, interrupt.flag());
  if (options.json) {
    fmt::print("{}\n", study::miss_ratio_json(ratios).dump(2));
  } else {
    fmt::print("{}", study::miss_ratio_text(ratios));
  }
}

}  // namespace

void add_miss_ratio(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<MissRatioVerbOptions>();
  options->ratios.jobs = 0;
  CLI::App* verb = app.add_subcommand("miss-ratio", "Miss-ratio curves of cache policies, with the gap to Belady's");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON); its first point of the system")->required();
  verb->add_option("--set", options->sets, "path=value: wins over the file");
  verb->add_option("--system", options->ratios.system, "Whose accesses, by label (default contiguous_kv)");
  verb->add_option("--policies", options->ratios.policies, "Comma-separated (default: all)")->delimiter(',');
  verb->add_option("--sizes", options->ratios.sizes, "Both tiers over the working set (default 0.01,...,1)")
      ->delimiter(',')
      ->check(CLI::Range(1e-6, 100.0));
  verb->add_option("--jobs", options->ratios.jobs,
                   "Runs simulated at the same time (default: the cores that this process may use)")
      ->check(CLI::Range(1, 4096));
  verb->add_flag("--json", options->json, "Machine-readable");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
