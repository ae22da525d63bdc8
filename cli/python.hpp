// Scripts of plots/, run by the Python that Debian's matplotlib belongs to.
#pragma once

#include <string>
#include <vector>

#include "cli/verbs.hpp"

namespace reprefill::cli {

/// Runs `plots/SCRIPT words...` and waits. Throws ConfigError, MachineError or Interrupted as the script's exit code
/// says; it has told the reason on standard error.
void run_python(const Environment& environment, const std::string& script, const std::vector<std::string>& words);

}  // namespace reprefill::cli
