#include <cstdlib>

#include "cli/verbs.hpp"
#include "cli/version.hpp"

namespace reprefill::cli {
namespace {

bool holds_shipped_files(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "scenarios" / "models") &&
         std::filesystem::exists(folder / "calibrate" / "profiles");
}

/// Beside the program (an unpacked distribution), above it (build/release), or where it was built from.
std::filesystem::path find_home(const char* program) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::canonical("/proc/self/exe", error).parent_path();
  if (error) folder = std::filesystem::path(program).parent_path();
  for (; !folder.empty() && folder != folder.root_path(); folder = folder.parent_path()) {
    if (holds_shipped_files(folder)) return folder;
  }
  if (holds_shipped_files(kSourceFolder)) return kSourceFolder;
  throw ConfigError(fmt::format("the folders scenarios/models and calibrate/profiles are neither above {} nor in {}",
                                program, kSourceFolder));
}

std::filesystem::path find_traces(const std::filesystem::path& home) {
  if (const char* named = std::getenv("REPREFILL_TRACES")) return named;
  const std::filesystem::path shared = home.parent_path() / "shared" / "traces";
  return std::filesystem::exists(shared) ? shared : std::filesystem::path();
}

}  // namespace

Environment find_environment(const char* program) {
  Environment environment;
  environment.home = find_home(program);
  environment.scenario = {.models = environment.home / "scenarios" / "models",
                          .profiles = environment.home / "calibrate" / "profiles",
                          .traces = find_traces(environment.home),
                          .samples = environment.home / "traces" / "samples"};
  return environment;
}

std::vector<sim::Override> overrides_of(const std::vector<std::string>& texts) {
  std::vector<sim::Override> overrides;
  for (const std::string& text : texts) overrides.push_back(sim::parse_override(text));
  return overrides;
}

}  // namespace reprefill::cli
