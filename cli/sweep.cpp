// `reprefill sweep`: the main job.
#include "sim/sweep/sweep.hpp"
#include "cli/verbs.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/summary.hpp"

namespace reprefill::cli {
namespace {

struct SweepVerbOptions {
  std::string scenario;
  std::vector<std::string> sets;
  std::string out;
  std::string shard;
  std::size_t jobs = 0;
  bool resume = false;
  bool force = false;
  bool quiet = false;
  bool json = false;
  bool markdown = false;
  bool strict = false;
  std::optional<std::size_t> timeline;
};

void print_result(const sim::SweepSummary& summary, const sim::Scenario& scenario, const SweepVerbOptions& options,
                  std::size_t num_workers, const std::filesystem::path& out) {
  if (options.json) {
    fmt::print("{}\n", Json(sim::summarise_replicas(summary.rows)).dump(2));
    return;
  }
  print_rows(summary.rows, scenario.axis_names, options.markdown);
  fmt::print("\n{} points", summary.rows.size());
  if (summary.num_resumed > 0) fmt::print(" ({} were done before)", summary.num_resumed);
  fmt::print(" in {:.1f} s on {} cores, {:.1f} M events/s. Results: {}\n", summary.wall_s, num_workers,
             static_cast<double>(summary.num_events) / summary.wall_s / 1e6, out.string());
  print_notes(summary.rows);
}

void print_shard(const sim::SweepSummary& summary, const sim::Scenario& scenario, const sim::Shard& shard,
                 const std::filesystem::path& out) {
  fmt::print("shard {} of {}: {} of {} points done in {:.1f} s. When all shards are: reprefill merge {}\n", shard.index,
             shard.count, summary.rows.size(), scenario.points.size(), summary.wall_s, out.string());
}

void run(const SweepVerbOptions& options, const Environment& environment, sim::Distributor* ranks) {
  const sim::Scenario scenario =
      sim::read_scenario(std::filesystem::path(options.scenario), overrides_of(options.sets), environment.scenario);
  if (options.timeline && *options.timeline >= scenario.points.size()) {
    throw ConfigError(fmt::format("--timeline: found {}; {} has points 0 to {}", *options.timeline, options.scenario,
                                  scenario.points.size() - 1));
  }
  const sim::Shard shard = options.shard.empty() ? sim::Shard{} : sim::parse_shard(options.shard);
  const std::filesystem::path out =
      options.out.empty() ? std::filesystem::path("results") / scenario.name : std::filesystem::path(options.out);
  sim::SharedInputs inputs(environment.scenario);
  for (const sim::Point& point : scenario.points) sim::check_inputs(point, inputs);

  const auto mode = options.resume  ? record::ResultFolder::Mode::resume
                    : options.force ? record::ResultFolder::Mode::replace
                                    : record::ResultFolder::Mode::fresh;
  sim::ThreadDistributor threads(options.jobs > 0 ? options.jobs : sim::num_usable_cores());
  sim::Distributor& distributor = ranks != nullptr ? *ranks : threads;
  const sim::InterruptGuard interrupt;
  std::optional<record::ResultFolder> folder;
  if (distributor.keeps_results()) {
    folder.emplace(shard.count > 1 ? sim::shard_folder(out, shard) : out, sim::resolved_inputs(scenario, inputs, shard),
                   mode);
  }
  const sim::SweepSummary summary = sim::run_sweep(
      scenario, inputs, folder ? &*folder : nullptr,
      {.timeline_point = options.timeline, .shard = shard, .quiet = options.quiet, .strict = options.strict},
      distributor, interrupt.flag());
  if (!folder) return;
  if (shard.count > 1) {
    print_shard(summary, scenario, shard, out);
  } else {
    print_result(summary, scenario, options, distributor.num_workers(), out);
  }
}

}  // namespace

void print_rows(const std::vector<Json>& rows, const std::vector<std::string>& axis_names, bool markdown) {
  fmt::print("{}", sim::result_table(rows, axis_names, markdown ? sim::TableForm::markdown : sim::TableForm::text));
}

void print_notes(const std::vector<Json>& rows) {
  bool hypothetical = false, backlogged = false, timing_dependent = false, without_p95 = false, extrapolated = false;
  for (const Json& row : rows) {
    hypothetical |= row.at("profile_kind") == "hypothetical";
    backlogged |= row.at("verdict") == "BACKLOGGED";
    timing_dependent |= row.at("timing_dependent").get<bool>();
    without_p95 |= row.at("ttft").contains("p95_note");
    extrapolated |= row.at("operation_shapes").at("extrapolated").get<std::uint64_t>() > 0;
  }
  if (hypothetical) fmt::print("The profile is hypothetical: datasheet numbers and assumptions, no measurement.\n");
  if (extrapolated) {
    fmt::print(
        "Some operations have shapes outside what the profile measured (operation_shapes.extrapolated of a row): a "
        "roofline goes on from there. --strict refuses them.\n");
  }
  if (backlogged) fmt::print("! BACKLOGGED: requests arrived faster than they were served; not a steady TTFT.\n");
  if (without_p95) fmt::print("P95 is not given with one request in flight and noise off: it is nearly the mean.\n");
  if (timing_dependent) fmt::print("~ bytes and cache decisions depend on durations; compare distributions only.\n");
}

void add_sweep(CLI::App& app, const Environment& environment, sim::Distributor* ranks) {
  auto options = std::make_shared<SweepVerbOptions>();
  CLI::App* verb = app.add_subcommand("sweep", "Simulate every point of a scenario; results go to a folder");
  verb->add_option("scenario", options->scenario, "Scenario file (JSON)")->required();
  verb->add_option("--set", options->sets, "path=value or path=v1,v2 (an axis): wins over the file");
  verb->add_option("--out", options->out, "Result folder (default results/NAME)");
  if (ranks == nullptr) {
    verb->add_option("--jobs", options->jobs,
                     "Points simulated at the same time (default: the cores that this process may use)")
        ->check(CLI::Range(1, 4096));
  }
  CLI::Option* shard = verb->add_option(
      "--shard", options->shard, "I/N: only this part of the points, I from 0 to N - 1; `merge` joins the parts");
  CLI::Option* resume =
      verb->add_flag("--resume", options->resume, "Go on with an interrupted sweep: nothing lost, nothing repeated");
  verb->add_flag("--force", options->force, "Replace the results in the folder")->excludes(resume);
  if (ranks == nullptr) {
    verb->add_option("--timeline", options->timeline, "Also write timeline.json (Chrome trace) of this point")
        ->excludes(shard);
  }
  verb->add_flag("--strict", options->strict, "Refuse points that ask the profile for shapes outside what it measured");
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->add_flag("--json", options->json, "Print the summary as JSON");
  verb->add_flag("--markdown", options->markdown, "Print the table as Markdown");
  verb->callback([options, environment, ranks] { run(*options, environment, ranks); });
}

}  // namespace reprefill::cli
