// `reprefill figures`: the papers' figures, by plots/figures.py, which runs sweeps with this program.
#include "cli/python.hpp"

namespace reprefill::cli {
namespace {

struct FiguresOptions {
  std::vector<std::string> names;
  std::vector<std::string> reported;
  std::string out;
  std::string doc;
  std::string model;
  std::string task;
  std::size_t jobs = 0;
  bool quick = false;
  bool force = false;
  bool draw_only = false;
  bool list = false;
};

std::string own_path() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) throw MachineError(fmt::format("/proc/self/exe: {}", error.message()));
  return path.string();
}

void run(const FiguresOptions& options, const Environment& environment) {
  // Quick results never stand where full ones are looked for.
  const std::string out = !options.out.empty() ? options.out
                          : options.quick      ? "results/figures-quick"
                                               : "results/figures";
  std::vector<std::string> words = {"--program", own_path(), "--home", environment.home.string(), "--out", out};
  if (options.quick) words.emplace_back("--quick");
  if (options.force) words.emplace_back("--force");
  if (options.draw_only) words.emplace_back("--draw-only");
  if (options.list) words.emplace_back("--list");
  if (!options.doc.empty()) words.insert(words.end(), {"--doc", options.doc});
  if (!options.model.empty()) words.insert(words.end(), {"--model", options.model});
  if (!options.task.empty()) words.insert(words.end(), {"--task", options.task});
  if (options.jobs > 0) words.insert(words.end(), {"--jobs", std::to_string(options.jobs)});
  for (const std::string& file : options.reported) words.insert(words.end(), {"--reported", file});
  words.emplace_back("--");
  words.insert(words.end(), options.names.begin(), options.names.end());
  run_python(environment, "figures.py", words);
}

}  // namespace

void add_figures(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<FiguresOptions>();
  CLI::App* verb =
      app.add_subcommand("figures", "Run the papers' scenarios and draw their figures, reported values beside");
  verb->add_option("name", options->names, "Figures, or parts of their names (default: all)");
  verb->add_flag("--list", options->list, "Names of the figures");
  verb->add_flag("--quick", options->quick, "2 seeds and 100 measured requests a point; P95 is marked provisional");
  verb->add_flag("--draw-only", options->draw_only, "Run nothing: draw from the results that are there");
  verb->add_flag("--force", options->force, "Replace the results that are there (default: go on with them)");
  verb->add_option("--reported", options->reported,
                   "CSV file of reported values to draw too, as scenarios/paper/reported.csv")
      ->allow_extra_args(false);
  verb->add_option("--model", options->model,
                   "Checkpoint folder for figure 9 (accuracy): real answers in place of published ones");
  verb->add_option("--task", options->task, "Questions for --model, as `eval` takes them");
  verb->add_option("--jobs", options->jobs, "Points simulated at the same time (default: the cores that it may use)")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--out", options->out, "Folder (default results/figures, with --quick results/figures-quick)");
  verb->add_option("--doc", options->doc,
                   "Write the comparison with the papers to this file too (docs/reproduction.md)");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
