#include "study/report/result_set.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <set>

#include "core/base/files.hpp"
#include "sim/simulation/result_row.hpp"

namespace reprefill::study {
namespace {

/// Columns that are told from the values, not drawn: a row has a few hundred at most.
constexpr std::size_t kMostColumns = 2000;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

void check_row(const Json& row, const std::string& place) {
  const auto fail = [&](const std::string& what) {
    throw ConfigError(fmt::format("{} is not a result row: {}", place, what));
  };
  if (!row.is_object()) fail(fmt::format("found a JSON {}; expected an object", row.type_name()));
  const auto require = [&](const char* key, bool (Json::*is_kind)() const noexcept, const char* kind) {
    if (!row.contains(key)) fail(fmt::format("{} is missing", key));
    if (!(row.at(key).*is_kind)()) {
      fail(fmt::format("{}: found a JSON {}; expected {}", key, row.at(key).type_name(), kind));
    }
  };
  require("label", &Json::is_string, "a string");
  require("axes", &Json::is_object, "an object");
  require("ttft", &Json::is_object, "an object");
  if (row.contains("point")) require("point", &Json::is_number_unsigned, "a whole number");
  for (const char* key : {"software_path", "verdict"}) {
    if (row.contains(key)) require(key, &Json::is_string, "a string");
  }
}

/// Lines of a journal come in order of completion; what a crash cut short can only be the last one.
void read_journal(const std::filesystem::path& file, ResultSet& result) {
  const FileContents contents = read_whole_file(file, 0);
  const std::vector<std::string_view> lines = lines_of(contents.text());
  std::map<std::size_t, Json> rows;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string place = fmt::format("{}: line {}", file.string(), i + 1);
    Json entry;
    try {
      entry = parse_json(lines[i], place);
    } catch (const ConfigError&) {
      if (i + 1 < lines.size()) throw;
      ++result.num_torn;
      break;
    }
    if (!entry.is_object() || !entry.contains("row") || !entry.contains("point") ||
        !entry["point"].is_number_unsigned()) {
      throw ConfigError(fmt::format("{} is not a line of a journal: expected keys point and row", place));
    }
    check_row(entry["row"], place);
    rows[entry["point"].get<std::size_t>()] = std::move(entry["row"]);
  }
  for (auto& [point, row] : rows) result.rows.push_back(std::move(row));
}

Json read_if_there(const std::filesystem::path& file) { return path_exists(file) ? read_json_file(file) : Json(); }

const Json* find(const Json& row, std::initializer_list<const char*> path) {
  const Json* value = &row;
  for (const char* key : path) {
    if (!value->is_object() || !value->contains(key)) return nullptr;
    value = &value->at(key);
  }
  return value;
}

bool is_true(const Json* value) { return value != nullptr && value->is_boolean() && value->get<bool>(); }
bool is_positive(const Json* value) { return value != nullptr && value->is_number() && value->get<double>() > 0; }
bool is_text(const Json* value, std::string_view text) {
  return value != nullptr && value->is_string() && value->get_ref<const std::string&>() == text;
}

/// Keys that tell of look-ups outside of what was measured, wherever a row has them.
bool is_extrapolated(const Json& value) {
  if (!value.is_object()) return false;
  for (const auto& [key, inner] : value.items()) {
    if (key.find("extrapolated") != std::string::npos && (is_true(&inner) || is_positive(&inner))) return true;
    if (is_extrapolated(inner)) return true;
  }
  return false;
}

struct Rule {
  std::function<bool(const Json& row)> applies;
  const char* text;
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> kRules = {
      {[](const Json& row) { return is_text(find(row, {"profile_kind"}), "hypothetical"); },
       "The profile is hypothetical: datasheet numbers and assumptions, no measurement."},
      {[](const Json& row) { return is_text(find(row, {"verdict"}), "BACKLOGGED"); },
       "BACKLOGGED: requests arrived faster than they were served; not a steady TTFT, not to be ranked."},
      {[](const Json& row) {
         const Json* ttft = find(row, {"ttft", "mean_ttft_ms"});
         return ttft == nullptr || !ttft->is_number();
       },
       "No TTFT: no request was measured. These rows are in the table and in no chart."},
      {is_extrapolated, "Durations were looked up outside of what was measured (extrapolated)."},
      {[](const Json& row) { return is_positive(find(row, {"missing_interference_pairs"})); },
       "Interference between some pairs of operations was not measured and counts as none."},
      {[](const Json& row) {
         const Json* mismatch = find(row, {"importance_mismatch"});
         return mismatch != nullptr && mismatch->is_string() && *mismatch != "";
       },
       "The importance was recorded on another model, or under another system, budget or chunk size than the row's: "
       "column importance_mismatch."},
      {[](const Json& row) { return is_true(find(row, {"timing_dependent"})); },
       "Bytes and cache decisions depend on durations: compare distributions of such rows only."},
  };
  return kRules;
}

void warn_of_versions(const ResultSet& result, std::vector<Warning>& warnings) {
  std::map<std::string, std::vector<std::size_t>> versions;
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    const Json* version = find(result.rows[i], {"schema_version"});
    versions[version == nullptr ? "none" : version->dump()].push_back(i);
  }
  for (auto& [version, rows] : versions) {
    if (version == std::to_string(sim::kRowSchemaVersion)) continue;
    warnings.push_back({fmt::format("Rows of schema version {}; this program writes version {}: a key may mean "
                                    "something else. Do not compare them with newer rows.",
                                    version, sim::kRowSchemaVersion),
                        std::move(rows)});
  }
}

void warn_of_missing(const ResultSet& result, std::vector<Warning>& warnings) {
  const Json* points = find(result.resolved, {"points"});
  const std::size_t wanted = points != nullptr && points->is_array() ? points->size() : result.rows.size();
  if (!result.finished || result.rows.size() != wanted) {
    warnings.push_back(
        {fmt::format("Partial: {} of {} points are done{}. Go on with `reprefill sweep --resume`.", result.rows.size(),
                     wanted, result.num_torn > 0 ? " (the last line of the journal was cut short)" : ""),
         {}});
  }
  if (result.resolved.is_null()) {
    warnings.push_back({"There is no resolved.json: what decided these rows is not known.", {}});
  }
}

double ten_digits(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 10).ptr;
  std::from_chars(text, end, value);
  return value;
}

struct Column {
  std::string name;
  std::vector<Json> values;
};

void flatten(const Json& value, const std::string& name, std::size_t row, std::size_t num_rows,
             std::vector<Column>& columns, std::map<std::string, std::size_t>& position) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, inner] : value.items()) {
      flatten(inner, name.empty() ? key : name + "." + key, row, num_rows, columns, position);
    }
    return;
  }
  const auto [found, is_new] = position.emplace(name, columns.size());
  if (is_new) {
    if (columns.size() == kMostColumns) {
      throw ConfigError(fmt::format("the rows have more than {} different keys: not a table", kMostColumns));
    }
    columns.push_back({name, std::vector<Json>(num_rows)});
  }
  columns[found->second].values[row] = value;
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_boolean() ? (value.get<bool>() ? "yes" : "no") : value.dump();
}

Json number_column(const Column& column) {
  Json values = Json::array();
  for (const Json& value : column.values) {
    values.push_back(value.is_number_float() ? Json(ten_digits(value.get<double>())) : value);
  }
  return values;
}

Json write_column(const Column& column) {
  const bool is_number = std::all_of(column.values.begin(), column.values.end(),
                                     [](const Json& value) { return value.is_null() || value.is_number(); });
  Json json = {{"name", column.name}, {"kind", is_number ? "number" : "text"}};
  Json values = Json::array();
  if (is_number) {
    values = number_column(column);
  } else {
    std::map<std::string, std::size_t> index;
    Json texts = Json::array();
    for (const Json& value : column.values) {
      if (value.is_null()) {
        values.push_back(nullptr);
        continue;
      }
      const auto [found, is_new] = index.emplace(text_of(value), texts.size());
      if (is_new) texts.push_back(found->first);
      values.push_back(found->second);
    }
    json["texts"] = std::move(texts);
  }
  const bool constant =
      std::all_of(values.begin(), values.end(), [&](const Json& value) { return value == values.front(); });
  if (constant) {
    json["constant"] = values.front();
  } else {
    json["values"] = std::move(values);
  }
  return json;
}

}  // namespace

std::vector<Json> parse_rows(std::string_view text, const std::string& origin) {
  std::vector<Json> rows;
  std::size_t number = 0;
  for (const std::string_view line : lines_of(text)) {
    const std::string place = fmt::format("{}: line {}", origin, ++number);
    rows.push_back(parse_json(line, place));
    check_row(rows.back(), place);
  }
  return rows;
}

ResultSet read_result_set(const std::filesystem::path& folder) {
  ResultSet result{.folder = folder};
  if (!folder_exists(folder)) {
    throw ConfigError(fmt::format("{}: no such result folder", folder.string()));
  }
  if (path_exists(folder / "results.jsonl")) {
    const std::filesystem::path file = folder / "results.jsonl";
    result.rows = parse_rows(read_whole_file(file, 0).text(), file.string());
  } else if (path_exists(folder / "journal.jsonl")) {
    result.finished = false;
    read_journal(folder / "journal.jsonl", result);
  } else {
    throw ConfigError(
        fmt::format("{}: neither results.jsonl nor journal.jsonl: not a result folder of a sweep", folder.string()));
  }
  if (result.rows.empty()) throw ConfigError(fmt::format("{}: has no rows yet", folder.string()));
  result.resolved = read_if_there(folder / "resolved.json");
  result.run = read_if_there(folder / "run.json");
  const Json* scenario = find(result.rows.front(), {"scenario"});
  const std::filesystem::path last = std::filesystem::absolute(folder).lexically_normal();
  result.name = scenario != nullptr && scenario->is_string() ? scenario->get<std::string>()
                : last.has_filename()                        ? last.filename().string()
                                                             : last.parent_path().filename().string();
  return result;
}

std::vector<Warning> warnings_of(const ResultSet& result) {
  std::vector<Warning> warnings;
  warn_of_missing(result, warnings);
  warn_of_versions(result, warnings);
  for (const Rule& rule : rules()) {
    Warning warning{rule.text, {}};
    for (std::size_t i = 0; i < result.rows.size(); ++i) {
      if (rule.applies(result.rows[i])) warning.rows.push_back(i);
    }
    if (!warning.rows.empty()) warnings.push_back(std::move(warning));
  }
  return warnings;
}

Json columns_of(const std::vector<Json>& rows) {
  std::vector<Column> columns;
  std::map<std::string, std::size_t> position;
  for (std::size_t i = 0; i < rows.size(); ++i) flatten(rows[i], "", i, rows.size(), columns, position);
  Json json = Json::array();
  for (const Column& column : columns) json.push_back(write_column(column));
  return json;
}

}  // namespace reprefill::study
