// `reprefill`: finds its shipped files, hands over to a verb, and turns errors into exit codes.
#include <cstdio>

#include "cli/verbs.hpp"
#include "cli/version.hpp"
#include "core/base/error.hpp"

namespace {

int fail(reprefill::ExitCode code, const char* what) {
  fmt::print(stderr, "reprefill: {}\n", what);
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace reprefill;
  CLI::App app("Reprefill: what Re-Prefill designs (ContiguousKV, IMPRESS, AttentionStore, ...) do on your hardware.");
  app.set_version_flag("--version", fmt::format("reprefill {} ({})", cli::kVersion, cli::kRevision));
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 2 input, 3 machine, 77 skipped, 130 interrupted. Docs: docs/scenarios.md");
  try {
    const cli::Environment environment = cli::find_environment(argv[0]);
    cli::add_sweep(app, environment);
    cli::add_run(app, environment);
    cli::add_eval(app, environment);
    cli::add_compare(app, environment);
    cli::add_diff(app, environment);
    cli::add_advise(app, environment);
    cli::add_tokenize(app, environment);
    cli::add_simulate(app, environment);
    cli::add_check(app, environment);
    cli::add_trace(app, environment);
    cli::add_systems(app, environment);
    cli::add_profile(app, environment);
    cli::add_plot(app, environment);
    cli::add_schema(app, environment);
    cli::add_store(app, environment);
    app.parse(argc, argv);
    return static_cast<int>(ExitCode::success);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::input);
  } catch (const ConfigError& error) {
    return fail(ExitCode::input, error.what());
  } catch (const MachineError& error) {
    return fail(ExitCode::machine, error.what());
  } catch (const Interrupted&) {
    return fail(ExitCode::interrupted, "interrupted; finished results are kept");
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(ExitCode::machine, error.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::machine, "out of memory");
  } catch (const std::exception& error) {
    return fail(ExitCode::machine, fmt::format("internal error, please report: {}", error.what()).c_str());
  }
}
