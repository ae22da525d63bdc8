// One HTML file that holds everything: rows, charts, program. It needs no network and refuses to use one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "study/report/result_set.hpp"

namespace reprefill::study {

/// A result with the time lines that go with it, as plots/report/*.js reads it.
Json report_entry(const ResultSet& result, const Json& timelines, const std::vector<std::string>& more_warnings);
/// One result, or two of them side by side.
Json report_data(const std::vector<Json>& entries, const std::string& program);
/// The same with the pairs of rows that belong together. `verdicts` is what `diff` says of them (study/diff), or an
/// object with `refused`: why it says nothing.
Json comparison_data(const ResultSet& a, const ResultSet& b, const Json& entry_a, const Json& entry_b,
                     const Json& verdicts, const std::string& program);

/// What the page is of: rows of one or two sweeps, a profile bundle, a result of `compare`. Each has its own scripts.
enum class PageKind : std::uint8_t { sweep, bundle, compare };

/// The page from the parts in `assets` (plots/report). Strings of the data cannot end the element that holds them, and
/// the page's policy runs no script but its own. Throws ConfigError where a part is missing.
std::string make_page(PageKind kind, const Json& data, const std::string& title, const std::filesystem::path& assets);

/// JSON that may stand inside <script>: no '<', '>' or '&', nothing outside of ASCII.
std::string script_safe(const Json& json);
std::string html_escaped(std::string_view text);

}  // namespace reprefill::study
