// A result folder as a report needs it: whole, unfinished or foreign, with what a reader must be warned of.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::study {

struct ResultSet {
  std::filesystem::path folder;
  std::string name = {};  // of the scenario; of the folder where rows do not say
  std::vector<Json> rows = {};
  Json resolved = {};        // resolved.json; null where there is none
  Json run = {};             // run.json; null where there is none
  bool finished = true;      // false: rows come from the journal of a sweep that did not end
  std::size_t num_torn = 0;  // lines at the end of the journal that a crash cut short
};

/// Reads results.jsonl, else the rows that journal.jsonl has so far.
/// Throws ConfigError naming the line (no rows, not a row), MachineError (reading failed).
ResultSet read_result_set(const std::filesystem::path& folder);

/// The rows of a results.jsonl. Throws ConfigError naming the line.
std::vector<Json> parse_rows(std::string_view text, const std::string& origin);

/// One thing that a reader must know before believing a number.
struct Warning {
  std::string text;
  std::vector<std::size_t> rows;  // by position in ResultSet::rows; empty: the whole result
};
std::vector<Warning> warnings_of(const ResultSet& result);

/// The rows as columns, nested keys joined with '.', in order of first appearance:
///   {"name": "ttft.mean_ttft_ms", "kind": "number", "values": [1.5, null, ...]}
///   {"name": "label", "kind": "text", "texts": ["a", "b"], "values": [0, 1, null, ...]}   (indices into texts)
/// A value that all rows share is written once, as "constant" in place of "values". Numbers keep 10 digits.
Json columns_of(const std::vector<Json>& rows);

}  // namespace reprefill::study
