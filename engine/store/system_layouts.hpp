// Which layouts the systems open: what `store build` writes unless it is told otherwise.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/pipeline/software_path.hpp"
#include "engine/store/stored_layout.hpp"

namespace reprefill::engine {

/// What one system with these resolved parameters reads; nullopt for one that stores nothing.
std::optional<StoredLayout> layout_of_system(std::string_view name, const Json& resolved, pipeline::PathKind path,
                                             const ModelGeometry& geometry);

/// Union over all systems of the registry with their default parameters, on both software paths.
std::vector<StoredLayout> default_layouts(const ModelGeometry& geometry);

/// `--layouts`: "all" for the union above, or names apart by commas. Throws ConfigError.
std::vector<StoredLayout> parse_layouts(std::string_view text, const ModelGeometry& geometry,
                                        std::uint32_t store_block_tokens);

}  // namespace reprefill::engine
