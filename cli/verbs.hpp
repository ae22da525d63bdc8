// The verbs of `reprefill`: each declares its options and what to do when it is called.
#pragma once

#include <CLI/CLI.hpp>

#include "sim/scenario/scenario.hpp"
#include "sim/sweep/distributor.hpp"

namespace reprefill::cli {

/// What every verb needs: where shipped files lie.
struct Environment {
  std::filesystem::path home;  // the folder that holds scenarios/, calibrate/, plots/
  sim::ScenarioContext scenario;
};
Environment find_environment(const char* program);

void add_append_error(CLI::App& app, const Environment& environment);
void add_eval(CLI::App& app, const Environment& environment);
void add_tornado(CLI::App& app, const Environment& environment);
void add_miss_ratio(CLI::App& app, const Environment& environment);
void add_explain(CLI::App& app, const Environment& environment);
void add_compare(CLI::App& app, const Environment& environment);
void add_diff(CLI::App& app, const Environment& environment);
void add_advise(CLI::App& app, const Environment& environment);
void add_run(CLI::App& app, const Environment& environment);
void add_tokenize(CLI::App& app, const Environment& environment);
void add_simulate(CLI::App& app, const Environment& environment);
/// On the threads of this process, or on `ranks`.
void add_sweep(CLI::App& app, const Environment& environment, sim::Distributor* ranks = nullptr);
void add_merge(CLI::App& app, const Environment& environment);
void add_calibrate(CLI::App& app, const Environment& environment);
void add_check(CLI::App& app, const Environment& environment);
void add_trace(CLI::App& app, const Environment& environment);
void add_systems(CLI::App& app, const Environment& environment);
void add_profile(CLI::App& app, const Environment& environment);
void add_plot(CLI::App& app, const Environment& environment);
void add_figures(CLI::App& app, const Environment& environment);
void add_report(CLI::App& app, const Environment& environment);
void add_schema(CLI::App& app, const Environment& environment);
void add_store(CLI::App& app, const Environment& environment);

/// `--plugin`, before or behind the verb; declared before the verbs, loaded before any of them runs.
void add_plugin_option(CLI::App& app);

/// The table of a sweep, and below it what a reader must know of its rows.
void print_rows(const std::vector<Json>& rows, const std::vector<std::string>& axis_names, bool markdown);
void print_notes(const std::vector<Json>& rows);

/// Does what a program does, and turns its errors into an exit code and a line on standard error, also in `message`.
int exit_code_of(CLI::App& app, const std::function<void()>& program, std::string* message = nullptr);

/// Reads all `--set` options.
std::vector<sim::Override> overrides_of(const std::vector<std::string>& texts);

}  // namespace reprefill::cli
