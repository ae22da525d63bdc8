// `reprefill compare`: how far predictions are from this machine.
#include "study/compare/compare.hpp"
#include "calibrate/meter/environment.hpp"
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/base/progress.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "study/compare/compare_summary.hpp"

namespace reprefill::cli {
namespace {

struct CompareVerbOptions {
  std::string scenario;
  ModelOptions model;
  std::string profile;
  std::vector<std::string> sets;
  std::string out, work;
  std::size_t repeats = 7;
  std::uint64_t range_replicas = 40;
  double tolerance = 0.05;
  bool no_drive_probes = false;
  bool buffered = false, unregistered = false, resume = false, force = false, judge_only = false;
  bool quiet = false, json = false;
};

sim::Scenario read_compared(const CompareVerbOptions& options, const std::string& model,
                            const Environment& environment) {
  std::vector<sim::Override> overrides = overrides_of(options.sets);
  overrides.push_back({"model", {model}});
  if (!options.profile.empty()) overrides.push_back({"profile", {options.profile}});
  return sim::read_scenario(std::filesystem::path(options.scenario), overrides, environment.scenario);
}

/// Errors of a profile that is not this machine's say only that.
void note_other_machine(const CompareVerbOptions& options, const Environment& environment) {
  if (options.profile.empty()) return;
  const std::filesystem::path bundle = sim::find_bundle(options.profile, environment.scenario.profiles);
  const Json meta = sim::read_bundle(bundle).at("meta");
  for (const std::string& difference : calibrate::differences_of_machine(meta, options.model.threads)) {
    fmt::print(stderr, "note: {}\n", difference);
  }
}

std::filesystem::path out_of(const CompareVerbOptions& options, const sim::Scenario& scenario) {
  return options.out.empty() ? std::filesystem::path("results") / ("compare-" + scenario.name)
                             : std::filesystem::path(options.out);
}

study::CompareOptions compare_options(const CompareVerbOptions& options, const std::filesystem::path& out,
                                      const sim::InterruptGuard& interrupt) {
  study::CompareOptions wanted{.repeats = options.repeats, .range_replicas = options.range_replicas};
  wanted.judgement.tolerance = options.tolerance;
  wanted.probe_drive = !options.no_drive_probes;
  wanted.real = {.buffered_reads = options.buffered,
                 .unregistered_buffers = options.unregistered,
                 .interrupted = &interrupt.flag()};
  wanted.work_folder = options.work.empty() ? out / "work" : std::filesystem::path(options.work);
  wanted.interrupted = &interrupt.flag();
  return wanted;
}

void write_and_print(const CompareVerbOptions& options, const study::CompareResult& result, const std::string& executor,
                     record::ResultFolder& folder) {
  folder.finish(result.rows, result.summary, {{"executor", executor}});
  const std::string markdown = study::compare_markdown(result.rows, result.summary);
  write_file_atomically(folder.path() / "compare.md", markdown);
  write_file_atomically(folder.path() / "timeline.json", result.timeline.dump() + "\n");
  if (options.json) {
    fmt::print("{}\n", result.summary.dump(2));
  } else {
    fmt::print("{}\nResults: {}\n", markdown, folder.path().string());
  }
}

/// With it a kept work folder says all that a judgement elsewhere needs of the model.
std::filesystem::path kept_config(const std::filesystem::path& work, const std::string& model) {
  return work / model / "config.json";
}

void measure_and_judge(const CompareVerbOptions& options, const Environment& environment) {
  const sim::Scenario scenario = read_compared(options, options.model.folder, environment);
  engine::Model model = open_model(options.model);
  if (model.executor->kv_type() != KvType::bf16) {
    throw ConfigError("--kv-dtype: found fp32; expected bf16: the simulator counts stored bytes as bf16");
  }
  const sim::InterruptGuard interrupt;
  const std::filesystem::path out = out_of(options, scenario);
  study::CompareOptions wanted = compare_options(options, out, interrupt);
  Progress progress("compare", std::vector<double>(study::num_engine_runs(scenario, wanted), 1.0),
                    options.quiet ? ProgressMode::quiet : ProgressMode::automatic, "runs");
  wanted.on_run = [&](std::size_t done) { progress.done(done - 1); };
  wanted.on_prefix = [&](std::size_t done, std::size_t all) {
    if (!options.quiet) fmt::print(stderr, "storing prefixes: {} of {}\n", done, all);
  };
  const auto mode = options.resume  ? record::ResultFolder::Mode::resume
                    : options.force ? record::ResultFolder::Mode::replace
                                    : record::ResultFolder::Mode::fresh;
  const study::MeasuredOn on = study::measured_on(model);
  record::ResultFolder folder(out, study::compare_inputs(scenario, on, wanted), mode);
  if (!options.resume) study::remove_recordings(wanted.work_folder);
  sim::SharedInputs inputs(environment.scenario);
  const study::CompareResult result = study::compare(model, scenario, inputs, folder, wanted);
  if (options.work.empty()) {
    std::filesystem::remove_all(wanted.work_folder);
  } else {
    const std::filesystem::path config = kept_config(wanted.work_folder, on.model);
    std::filesystem::create_directories(config.parent_path());
    std::filesystem::copy_file(std::filesystem::path(options.model.folder) / "config.json", config,
                               std::filesystem::copy_options::overwrite_existing);
  }
  write_and_print(options, result, on.executor, folder);
}

void judge_again(const CompareVerbOptions& options, const Environment& environment) {
  if (options.work.empty()) {
    throw ConfigError("--judge-only: found no --work; expected the folder that the measuring call kept with --work");
  }
  const study::MeasuredRequests measured = study::read_measured(options.work);
  const std::string model = kept_config(options.work, measured.on.model).parent_path().string();
  const sim::Scenario scenario = read_compared(options, model, environment);
  const sim::InterruptGuard interrupt;
  const std::filesystem::path out = out_of(options, scenario);
  const study::CompareOptions wanted = compare_options(options, out, interrupt);
  record::ResultFolder folder(out, study::compare_inputs(scenario, measured.on, wanted),
                              record::ResultFolder::Mode::resume);
  write_and_print(options, study::judge_again(scenario, measured, folder, wanted), measured.on.executor, folder);
}

void run(const CompareVerbOptions& options, const Environment& environment) {
  if (options.judge_only) return judge_again(options, environment);
  if (options.model.folder.empty()) throw ConfigError("--model: found none; expected a checkpoint's folder");
  note_other_machine(options, environment);
  measure_and_judge(options, environment);
}

}  // namespace

void add_compare(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<CompareVerbOptions>();
  CLI::App* verb = app.add_subcommand(
      "compare", "Serve a scenario's requests on this machine and in the simulator; print how far they are apart");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON): prefix_pool, closed arrivals")->required();
  add_model_options(*verb, options->model)->required(false);
  verb->add_option("--profile", options->profile, "Profile of this machine (default: the scenario's)");
  verb->add_option("--set", options->sets, "path=value or path=v1,v2 (an axis): wins over the file");
  verb->add_option("--repeats", options->repeats, "Real runs of every point, interleaved (default 7)")
      ->check(CLI::Range(1, 1000));
  verb->add_option("--range-replicas", options->range_replicas,
                   "Simulated replicas behind the 90 % range (default 40; 0: none)")
      ->check(CLI::Range(0, 10'000));
  verb->add_option("--tolerance", options->tolerance, "Error that still counts as within (default 0.05)")
      ->check(CLI::Range(0.0, 1.0));
  verb->add_option("--out", options->out, "Result folder (default results/compare-NAME)");
  verb->add_option("--work", options->work,
                   "Folder for the store and recorded importance, kept (default: OUT/work, removed at the end)");
  verb->add_flag(
      "--no-drive-probes", options->no_drive_probes,
      "Do not measure the drive beside the rounds of real runs (half a second before, between and after them)");
  verb->add_flag("--buffered", options->buffered, "Read through the page cache instead of O_DIRECT");
  verb->add_flag("--unregistered-buffers", options->unregistered, "Do without locked memory for io_uring");
  CLI::Option* resume =
      verb->add_flag("--resume", options->resume, "Go on with an interrupted comparison: measured runs are kept");
  CLI::Option* force = verb->add_flag("--force", options->force, "Replace the results in the folder")->excludes(resume);
  verb->add_flag("--judge-only", options->judge_only,
                 "Hold --profile against what OUT has measured, on any machine: needs OUT and the kept --work (without "
                 "its store), no --model")
      ->excludes(resume)
      ->excludes(force);
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->add_flag("--json", options->json, "Print the summary as JSON");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
