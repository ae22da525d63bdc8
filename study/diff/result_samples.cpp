#include "study/diff/result_samples.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/files.hpp"

namespace reprefill::study {
namespace {

struct Row {
  Json json;
  std::string origin;  // file and line
};

std::vector<Row> split_rows(std::string_view text, const std::string& origin) {
  std::vector<Row> rows;
  std::size_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.empty()) continue;
    const std::string place = fmt::format("{}:{}", origin, line_number);
    rows.push_back({parse_json(line, place), place});
    JsonValue(rows.back().json, place).require_object();
  }
  if (rows.empty()) throw ConfigError(fmt::format("{}: no rows", origin));
  return rows;
}

std::string kind_of(const Row& row) {
  const JsonValue value(row.json, row.origin);
  return value.has("kind") ? value.key("kind").as_string() : "sweep";
}

int schema_of(const Row& row) {
  return static_cast<int>(JsonValue(row.json, row.origin).key("schema_version").as_integer(0, 1'000'000, ""));
}

double finite(const JsonValue& value) { return value.as_number(-1e300, 1e300, ""); }

/// The number at a path of keys with dots in between.
JsonValue number_at(const Row& row, const std::string& path) {
  JsonValue value(row.json, row.origin);
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t dot = std::min(path.find('.', begin), path.size());
    value = value.require_object().key(path.substr(begin, dot - begin));
    begin = dot + 1;
  }
  if (value.json().is_null()) value.fail("found null; this run does not give that number");
  return value;
}

class Reader {
 public:
  Reader(std::vector<Row> rows, const SampleOptions& options) : rows_(std::move(rows)), options_(options) {
    result_.kind = kind_of(rows_.front());
    result_.schema_version = schema_of(rows_.front());
    for (const Row& row : rows_) {
      if (kind_of(row) != result_.kind || schema_of(row) != result_.schema_version) {
        throw ConfigError(fmt::format("{}: a {} row of schema {} among {} rows of schema {}", row.origin, kind_of(row),
                                      schema_of(row), result_.kind, result_.schema_version));
      }
    }
    if (result_.kind != "sweep" && result_.kind != "compare") {
      JsonValue(rows_.front().json, rows_.front().origin).key("kind").fail_expected("\"sweep\" or \"compare\"");
    }
    result_.pair_by = pairing();
  }

  ResultSamples read() {
    for (const Row& row : rows_) {
      ResultPoint& point = point_of(row);
      const std::string replica = replica_of(row);
      if (result_.pair_by == PairBy::request) {
        add_requests(row, replica, point);
      } else {
        point.samples.push_back({replica, finite(number_at(row, metric()))});
      }
    }
    return std::move(result_);
  }

 private:
  bool is_compare() const { return result_.kind == "compare"; }

  std::string metric() const {
    if (!options_.metric.empty()) return options_.metric;
    return is_compare() ? "ttft.real_ms" : "ttft.mean_ttft_ms";
  }

  bool has_requests(const Row& row) const {
    if (!row.json.contains("requests") || row.json["requests"].is_null()) return false;
    return !is_compare() || !row.json["requests"].empty();
  }

  PairBy pairing() const {
    const bool all = std::all_of(rows_.begin(), rows_.end(), [&](const Row& row) { return has_requests(row); });
    if (options_.pair_by == PairBy::point || !options_.metric.empty()) return PairBy::point;
    if (all) return PairBy::request;
    if (options_.pair_by == PairBy::automatic) return PairBy::point;
    const Row& without =
        *std::find_if_not(rows_.begin(), rows_.end(), [&](const Row& row) { return has_requests(row); });
    throw ConfigError(
        fmt::format("{}: --by request: the row has no requests; sweep with --set keep_requests=true", without.origin));
  }

  ResultPoint& point_of(const Row& row) {
    const JsonValue value(row.json, row.origin);
    ResultPoint point{.label = value.key("label").as_string()};
    for (const auto& [axis, setting] : value.key("axes").require_object().json().items()) {
      if (!setting.is_null()) point.axes[axis] = setting;
    }
    const auto [found, is_new] = index_.emplace(point.label + point.axes.dump(), result_.points.size());
    if (is_new) result_.points.push_back(std::move(point));
    return result_.points[found->second];
  }

  std::string replica_of(const Row& row) const {
    const JsonValue value(row.json, row.origin);
    return fmt::format("replica {}", value.has("replica") ? value.key("replica").as_integer(0, 1 << 30, "") : 0);
  }

  void add_requests(const Row& row, const std::string& replica, ResultPoint& point) const {
    const JsonValue value(row.json, row.origin);
    const JsonValue list = is_compare() ? value.key("requests") : value.key("requests").require_object().key("ttft_ms");
    list.require_array();
    for (std::size_t i = 0; i < list.json().size(); ++i) {
      const JsonValue item = list.element(i);
      const std::string number = is_compare() ? item.require_object().key("name").as_string() : std::to_string(i);
      const JsonValue time = is_compare() ? item.key("real_ms") : item;
      point.samples.push_back({fmt::format("{} request {}", replica, number), finite(time)});
    }
  }

  std::vector<Row> rows_;
  const SampleOptions& options_;
  ResultSamples result_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace

ResultSamples parse_result_samples(std::string_view text, const std::string& origin, const SampleOptions& options) {
  return Reader(split_rows(text, origin), options).read();
}

ResultSamples read_result_samples(const std::filesystem::path& folder, const SampleOptions& options) {
  const std::filesystem::path file = folder / "results.jsonl";
  if (!path_exists(file)) {
    throw ConfigError(fmt::format("{}: no results.jsonl: {}", folder.string(),
                                  path_exists(folder / "journal.jsonl")
                                      ? "the run was interrupted; go on with --resume"
                                      : "expected a result folder of `reprefill sweep` or `reprefill compare`"));
  }
  return parse_result_samples(read_whole_file(file, 0).text(), file.string(), options);
}

}  // namespace reprefill::study
