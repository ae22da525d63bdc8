// Verbs of `reprefill store` that need a model.
#pragma once

#include "cli/engine_options.hpp"

namespace reprefill::cli {

void add_store_build(CLI::App& store);

}  // namespace reprefill::cli
