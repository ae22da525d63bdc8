#include "study/report/compare_report.hpp"

#include "core/base/files.hpp"
#include "study/compare/compare_summary.hpp"

namespace reprefill::study {
namespace {

constexpr double kLargestMs = 1e12;
/// What a row says of one point, each a list of cells.
constexpr const char* kCellLists[] = {"requests", "classes", "spans", "distribution"};

void check_cell(const JsonValue& cell) {
  cell.require_object();
  cell.key("name").as_string();
  for (const char* key : {"real_ms", "real_p10_ms", "real_p90_ms", "predicted_ms"}) {
    cell.key(key).as_number(0, kLargestMs, "ms");
  }
  cell.key("spread").as_number(0, kLargestMs, "");
  const JsonValue error = cell.key("error");
  if (!error.json().is_null()) error.as_number(-kLargestMs, kLargestMs, "");
  cell.key("verdict").as_string();
}

void check_row(const JsonValue& row) {
  row.require_object();
  row.key("label").as_string();
  row.key("point").as_integer(0, 1'000'000'000, "");
  row.key("axes").require_object();
  check_cell(row.key("ttft"));
  for (const char* list : kCellLists) {
    const JsonValue cells = row.key(list).require_array();
    for (std::size_t i = 0; i < cells.json().size(); ++i) check_cell(cells.element(i));
  }
  const JsonValue equality = row.key("equality").require_object();
  if (!equality.key("equal").json().is_null()) equality.key("equal").as_bool();
  equality.key("first_difference").as_string();
}

std::size_t count_undecidable(const Json& cells) {
  std::size_t count = 0;
  for (const Json& cell : cells) count += cell.at("verdict") == "undecidable" ? 1u : 0u;
  return count;
}

Json warnings_of(const Json& rows) {
  Json warnings = Json::array();
  std::size_t undecidable = 0, requests = 0;
  for (const Json& row : rows) {
    undecidable += count_undecidable(row.at("requests"));
    requests += row.at("requests").size();
    const Json& equality = row.at("equality");
    if (equality.at("equal") == false) {
      warnings.push_back(fmt::format("Point {} ({}): bytes, reads or decisions differ: {}", row.at("point").dump(),
                                     row.at("label").get<std::string>(),
                                     equality.at("first_difference").get<std::string>()));
    }
  }
  if (undecidable > 0) {
    warnings.push_back(
        fmt::format("{} of {} requests scatter too much on the engine to say anything.", undecidable, requests));
  }
  return warnings;
}

}  // namespace

bool is_compare_result(const std::filesystem::path& folder) {
  const std::filesystem::path summary = folder / "summary.json";
  if (!std::filesystem::exists(summary)) return std::filesystem::exists(folder / "compare.md");
  const Json json = read_json_file(summary);
  return json.is_object() && json.contains("kind") && json.at("kind") == "compare";
}

Json parse_compare_rows(std::string_view text, const std::string& origin) {
  Json rows = Json::array();
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string place = fmt::format("{}: line {}", origin, ++number);
    if (end > 0) {
      Json row = parse_json(text.substr(0, end), place);
      check_row(JsonValue(row, place));
      rows.push_back(std::move(row));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (rows.empty()) throw ConfigError(fmt::format("{}: has no rows", origin));
  return rows;
}

Json compare_data(const std::filesystem::path& folder, const std::string& program) {
  const std::filesystem::path file = folder / "results.jsonl";
  if (!std::filesystem::exists(file)) {
    throw ConfigError(fmt::format("{}: not there: the comparison did not end; go on with `reprefill compare --resume`",
                                  file.string()));
  }
  Json data = {{"program", program}, {"results", Json::array()}, {"folder", folder.string()}};
  data["name"] = std::filesystem::absolute(folder).lexically_normal().filename().string();
  data["points"] = parse_compare_rows(read_whole_file(file, 0).text(), file.string());
  data["summary"] = read_json_file(folder / "summary.json");
  const std::filesystem::path resolved = folder / "resolved.json";
  if (std::filesystem::exists(resolved)) data["resolved"] = read_json_file(resolved);
  data["warnings"] = warnings_of(data["points"]);
  const Json version = data["summary"].value("schema_version", Json());
  if (version != kCompareSchemaVersion) {
    data["warnings"].push_back(
        fmt::format("Schema version {}; this program writes version {}: a key may mean "
                    "something else.",
                    version.dump(), kCompareSchemaVersion));
  }
  return data;
}

}  // namespace reprefill::study
