// `reprefill-mpi`: `sweep` on the ranks of an MPI job. A program of its own, so that `reprefill` needs no MPI to run.
#include <cstdio>

#include "cli/verbs.hpp"
#include "cli/version.hpp"
#include "sim/sweep/mpi/mpi_distributor.hpp"

int main(int argc, char** argv) {
  using namespace reprefill;
  sim::MpiDistributor ranks(&argc, &argv);
  // One voice: rank 0 prints, and is told what failed elsewhere.
  const bool silent = !ranks.keeps_results();
  if (silent &&
      (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr)) {
    return ranks.finish(static_cast<int>(ExitCode::machine), "freopen(/dev/null) failed");
  }
  CLI::App app("Reprefill on MPI: mpirun -n 64 reprefill-mpi sweep SCENARIO --out FOLDER");
  app.set_version_flag("--version", fmt::format("reprefill {} ({})", cli::kVersion, cli::kRevision));
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 2 input, 3 machine, 130 interrupted. Docs: docs/scale.md");
  std::string message;
  const int code = cli::exit_code_of(
      app,
      [&] {
        const cli::Environment environment = cli::find_environment(argv[0]);
        cli::add_plugin_option(app);
        cli::add_sweep(app, environment, &ranks);
        app.parse(argc, argv);
      },
      &message);
  return ranks.finish(code, message);
}
