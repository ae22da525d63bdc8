// Verbs of `reprefill store` with files of their own: those that need a model, or its tokenizer.
#pragma once

#include "cli/engine_options.hpp"

namespace reprefill::cli {

void add_store_build(CLI::App& store);
void add_store_reorder(CLI::App& store);

}  // namespace reprefill::cli
