// A result of `reprefill compare` as the page of `reprefill report` shows it: predicted beside measured.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/base/json.hpp"

namespace reprefill::study {

/// Whether the folder holds a result of `compare`, finished or not.
bool is_compare_result(const std::filesystem::path& folder);

/// Points with all their cells, the summary, and what a reader must know first. Throws ConfigError naming file and
/// line.
Json compare_data(const std::filesystem::path& folder, const std::string& program);

/// The rows of a results.jsonl of `compare`, checked as far as the page needs them.
Json parse_compare_rows(std::string_view text, const std::string& origin);

}  // namespace reprefill::study
