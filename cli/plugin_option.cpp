#include "cli/verbs.hpp"
#include "core/pipeline/plugin.hpp"

namespace reprefill::cli {

void add_plugin_option(CLI::App& app) {
  app.fallthrough();  // inherited by the verbs that are added from here on
  app.add_option_function<std::vector<std::string>>(
         "--plugin",
         [](const std::vector<std::string>& libraries) {
           for (const std::string& library : libraries) pipeline::load_plugin(library);
         },
         "A shared library with systems from outside the tree; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->trigger_on_parse();
}

}  // namespace reprefill::cli
