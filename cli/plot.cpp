// `reprefill plot`: hands a result folder to plots/plot.py.
#include "cli/python.hpp"
#include "core/base/files.hpp"

namespace reprefill::cli {
namespace {

struct PlotOptions {
  std::string folder;
  std::string axis;
  std::string out;
};

void run(const PlotOptions& options, const Environment& environment) {
  if (!folder_exists(options.folder)) {
    throw ConfigError(fmt::format("{}: no such result folder", options.folder));
  }
  std::vector<std::string> words = {options.folder};
  if (!options.axis.empty()) words.insert(words.end(), {"--x", options.axis});
  if (!options.out.empty()) words.insert(words.end(), {"--out", options.out});
  run_python(environment, "plot.py", words);
}

}  // namespace

void add_plot(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<PlotOptions>();
  CLI::App* verb = app.add_subcommand("plot", "Draw TTFT by system and axis, and by time class, from a result folder");
  verb->add_option("result", options->folder, "Result folder of a sweep")->required();
  verb->add_option("--x", options->axis, "Axis to draw over (default: the one with most values)");
  verb->add_option("--out", options->out, "Folder for the images (default: the result folder)");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
