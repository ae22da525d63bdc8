// `reprefill`: finds its shipped files and hands over to a verb.
#include "cli/verbs.hpp"
#include "cli/version.hpp"

int main(int argc, char** argv) {
  using namespace reprefill;
  CLI::App app("Reprefill: what Re-Prefill designs (ContiguousKV, IMPRESS, AttentionStore, ...) do on your hardware.");
  app.set_version_flag("--version", fmt::format("reprefill {} ({})", cli::kVersion, cli::kRevision));
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 2 input, 3 machine, 77 skipped, 130 interrupted. Docs: docs/scenarios.md");
  return cli::exit_code_of(app, [&] {
    const cli::Environment environment = cli::find_environment(argv[0]);
    cli::add_plugin_option(app);
    cli::add_sweep(app, environment);
    cli::add_merge(app, environment);
    cli::add_run(app, environment);
    cli::add_eval(app, environment);
    cli::add_append_error(app, environment);
    cli::add_compare(app, environment);
    cli::add_diff(app, environment);
    cli::add_advise(app, environment);
    cli::add_tokenize(app, environment);
    cli::add_simulate(app, environment);
    cli::add_explain(app, environment);
    cli::add_tornado(app, environment);
    cli::add_miss_ratio(app, environment);
    cli::add_check(app, environment);
    cli::add_trace(app, environment);
    cli::add_systems(app, environment);
    cli::add_profile(app, environment);
    cli::add_calibrate(app, environment);
    cli::add_plot(app, environment);
    cli::add_report(app, environment);
    cli::add_figures(app, environment);
    cli::add_schema(app, environment);
    cli::add_store(app, environment);
    app.parse(argc, argv);
  });
}
