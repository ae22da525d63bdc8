// `reprefill tornado`: what a result hangs on.
#include "study/tornado/tornado.hpp"
#include "cli/verbs.hpp"
#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::cli {
namespace {

struct TornadoVerbOptions {
  std::string scenario;
  std::vector<std::string> sets;
  std::string assumptions;
  study::TornadoOptions tornado;
  bool json = false;
};

void run(TornadoVerbOptions options, const Environment& environment) {
  const std::filesystem::path file = options.assumptions.empty()
                                         ? environment.home / "study" / "tornado" / "assumptions.json"
                                         : std::filesystem::path(options.assumptions);
  const Json json = read_json_file(file);
  const std::vector<study::Assumption> assumptions = study::read_assumptions(JsonValue(json, file.string()));
  if (options.tornado.jobs == 0) options.tornado.jobs = sim::num_usable_cores();
  const sim::InterruptGuard interrupt;
  const study::Tornado result = study::tornado(options.scenario, overrides_of(options.sets), assumptions,
                                               options.tornado, environment.scenario, interrupt.flag());
  if (options.json) {
    fmt::print("{}\n", study::tornado_json(result).dump(2));
  } else {
    fmt::print("{}", study::tornado_text(result, options.tornado));
  }
}

}  // namespace

void add_tornado(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<TornadoVerbOptions>();
  options->tornado.jobs = 0;
  CLI::App* verb = app.add_subcommand("tornado", "Vary each assumption alone: which of them the result hangs on");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON); its first setting of every axis")->required();
  verb->add_option("--set", options->sets, "path=value: wins over the file");
  verb->add_option("--system", options->tornado.system, "The system to watch, by its label (default contiguous_kv)");
  verb->add_option("--over", options->tornado.over, "Watch its speed-up over this system instead of its TTFT");
  verb->add_option("--assumptions", options->assumptions, "Other readings (default study/tornado/assumptions.json)");
  verb->add_option("--jobs", options->tornado.jobs,
                   "Readings simulated at the same time (default: the cores that this process may use)")
      ->check(CLI::Range(1, 4096));
  verb->add_flag("--json", options->json, "Machine-readable");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
