#include "cli/verbs.hpp"

namespace reprefill::cli {

void add_schema(CLI::App& app, const Environment&) {
  CLI::App* verb = app.add_subcommand("schema", "Print the JSON Schema (2020-12) of scenario files");
  verb->callback([] { fmt::print("{}\n", sim::scenario_schema().dump(2)); });
}

}  // namespace reprefill::cli
