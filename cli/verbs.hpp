// The verbs of `reprefill`: each declares its options and what to do when it is called.
#pragma once

#include <CLI/CLI.hpp>

#include "sim/scenario/scenario.hpp"

namespace reprefill::cli {

/// What every verb needs: where shipped files lie.
struct Environment {
  std::filesystem::path home;  // the folder that holds scenarios/, calibrate/, plots/
  sim::ScenarioContext scenario;
};
Environment find_environment(const char* program);

void add_eval(CLI::App& app, const Environment& environment);
void add_compare(CLI::App& app, const Environment& environment);
void add_diff(CLI::App& app, const Environment& environment);
void add_advise(CLI::App& app, const Environment& environment);
void add_run(CLI::App& app, const Environment& environment);
void add_tokenize(CLI::App& app, const Environment& environment);
void add_simulate(CLI::App& app, const Environment& environment);
void add_sweep(CLI::App& app, const Environment& environment);
void add_check(CLI::App& app, const Environment& environment);
void add_trace(CLI::App& app, const Environment& environment);
void add_systems(CLI::App& app, const Environment& environment);
void add_profile(CLI::App& app, const Environment& environment);
void add_plot(CLI::App& app, const Environment& environment);
void add_schema(CLI::App& app, const Environment& environment);
void add_store(CLI::App& app, const Environment& environment);

/// Reads all `--set` options.
std::vector<sim::Override> overrides_of(const std::vector<std::string>& texts);

}  // namespace reprefill::cli
