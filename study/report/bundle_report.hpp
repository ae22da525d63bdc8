// A profile bundle as the page of `reprefill report` shows it: what was measured beside what was fitted.
#pragma once

#include <filesystem>
#include <string>

#include "core/base/json.hpp"

namespace reprefill::study {

/// Whether the folder holds a bundle: meta.json and model.json.
bool is_bundle(const std::filesystem::path& folder);

/// Every part's numbers with their sources, every fit with its points, and what a reader must know first. Throws
/// ConfigError where the bundle is damaged.
Json bundle_data(const std::filesystem::path& folder, const std::string& program);

}  // namespace reprefill::study
