// `reprefill advise`: what to run on this machine for that workload.
#include "study/advise/advise.hpp"
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/base/progress.hpp"
#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::cli {
namespace {

struct AdviseVerbOptions {
  std::string profile, model, workload, importance = "paper-5pct", path = "direct", objective = "mean";
  std::string host_memory = "64 GB", out = "results/advise";
  study::AdviseOptions advise;
  std::uint64_t seed = 1;
  bool resume = false, force = false, quiet = false, json = false;
};

/// A preset's name, or a file that holds a workload, or a scenario that does.
Json workload_of(const std::string& text) {
  if (!path_exists(text)) return {{"kind", "prefix_pool"}, {"preset", text}};
  const Json json = read_json_file(text);
  return json.is_object() && json.contains("workload") ? json.at("workload") : json;
}

Json importance_of(const std::string& text) {
  if (path_exists(text)) return {{"kind", "recorded"}, {"file", text}};
  return {{"kind", "synthetic"}, {"preset", text}};
}

void run(AdviseVerbOptions options, const Environment& environment) {
  const study::AdviseInputs inputs{.model = options.model,
                                   .profile = options.profile,
                                   .workload = workload_of(options.workload),
                                   .importance = importance_of(options.importance),
                                   .software_path = options.path,
                                   .objective = choice_of<study::Objective>(options.objective, "--objective"),
                                   .seed = options.seed};
  const Json memory = options.host_memory;
  options.advise.host_memory =
      Bytes{static_cast<std::uint64_t>(JsonValue(memory, "--host-memory").as_quantity("bytes"))};
  const auto mode = options.resume  ? record::ResultFolder::Mode::resume
                    : options.force ? record::ResultFolder::Mode::replace
                                    : record::ResultFolder::Mode::fresh;
  const sim::InterruptGuard interrupt;
  record::ResultFolder folder(options.out, study::advise_resolved(inputs, options.advise), mode);
  Progress progress("advise", std::vector<double>(study::num_advise_trials(options.advise), 1.0),
                    options.quiet ? ProgressMode::quiet : ProgressMode::automatic, "trials");
  if (options.advise.runner.jobs == 0) options.advise.runner.jobs = sim::num_usable_cores();
  options.advise.runner.interrupted = &interrupt.flag();
  options.advise.runner.on_trial = [&](std::size_t trial) { progress.done(trial); };
  std::vector<Json> rows;
  const Json report = study::advise(inputs, options.advise, environment.scenario, folder, rows);
  folder.finish(rows, report, {{"jobs", options.advise.runner.jobs}});
  const std::string markdown = study::advise_markdown(report);
  write_file_atomically(folder.path() / "advise.md", markdown);
  if (options.json) {
    fmt::print("{}\n", report.dump(2));
  } else {
    fmt::print("{}\nRecord: {}\n", markdown, options.out);
  }
}

}  // namespace

void add_advise(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<AdviseVerbOptions>();
  options->advise.runner.jobs = 0;
  CLI::App* verb = app.add_subcommand(
      "advise", "From which prefix length to load, which settings suit this machine, what faster parts would change");
  verb->add_option("--profile", options->profile, "Profile of the machine: a shipped one or a folder")->required();
  verb->add_option("--model", options->model, "A shipped model such as qwen2.5-7b, or a config.json")->required();
  verb->add_option("--workload", options->workload,
                   "A preset (sst2, subj, trec, rte, rag, long_document_qa), or a JSON file: a workload or a scenario")
      ->required();
  verb->add_option("--importance", options->importance,
                   "A synthetic preset (default paper-5pct), or a recorded importance trace");
  verb->add_option("--objective", options->objective, "mean (default), p95 or p99_ttft");
  verb->add_option("--min-attention-mass", options->advise.min_attention_mass,
                   "Settings must keep at least this share of the attention mass (default 0.5)")
      ->check(CLI::Range(0.0, 1.0));
  verb->add_option("--path", options->path, "Software path: direct (default) or prototype");
  verb->add_option("--trials", options->advise.search_trials, "Settings that the search tries (default 96)")
      ->check(CLI::Range(1, 100'000));
  verb->add_option("--host-memory", options->host_memory, "That the host tier may take (default \"64 GB\")");
  verb->add_option("--seed", options->seed, "Of workload and search (default 1)");
  verb->add_option("--jobs", options->advise.runner.jobs,
                   "Trials at the same time (default: the cores of this process)")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--out", options->out, "Folder of the search's record (default results/advise)");
  CLI::Option* resume = verb->add_flag("--resume", options->resume, "Go on with an interrupted search");
  verb->add_flag("--force", options->force, "Replace the record in the folder")->excludes(resume);
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->add_flag("--json", options->json, "Print the report as JSON");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
