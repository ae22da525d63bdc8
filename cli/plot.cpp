// `reprefill plot`: hands a result folder to plots/plot.py.
#include <spawn.h>
#include <sys/wait.h>

#include <cstring>

#include "cli/verbs.hpp"

extern char** environ;

namespace reprefill::cli {
namespace {

struct PlotOptions {
  std::string folder;
  std::string axis;
  std::string out;
};

/// Debian's matplotlib belongs to Debian's Python, which need not be the first on PATH.
constexpr const char* kPython = "/usr/bin/python3";

void run(const PlotOptions& options, const Environment& environment) {
  if (!std::filesystem::is_directory(options.folder)) {
    throw ConfigError(fmt::format("{}: no such result folder", options.folder));
  }
  std::vector<std::string> words = {kPython, (environment.home / "plots" / "plot.py").string(), options.folder};
  if (!options.axis.empty()) words.insert(words.end(), {"--x", options.axis});
  if (!options.out.empty()) words.insert(words.end(), {"--out", options.out});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (const int error = posix_spawn(&child, kPython, nullptr, nullptr, arguments.data(), environ); error != 0) {
    throw MachineError(fmt::format("cannot start {}: {}; scripts/setup installs it", kPython, std::strerror(error)));
  }
  int status = 0;
  waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  if (code == static_cast<int>(ExitCode::input)) throw ConfigError("plots/plot.py refused its input (above)");
  if (code != 0) throw MachineError(fmt::format("plots/plot.py ended with status {} (above)", code));
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
