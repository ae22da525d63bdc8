#include "sim/sweep/shard.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>

#include <fmt/ranges.h>

#include "core/record/result_folder.hpp"
#include "sim/simulation/run_point.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/summary.hpp"

namespace reprefill::sim {
namespace {

constexpr std::size_t kMaxShards = 100'000;

/// Points that one shard takes or leaves together.
struct Lot {
  double cost = 0;
  std::vector<std::size_t> points;
};

std::vector<Lot> lots_of(const Scenario& scenario, std::size_t num_shards) {
  std::map<std::size_t, Lot> groups;
  bool warms_up = false;
  for (const Point& point : scenario.points) {
    Lot& lot = groups[point.group];
    lot.points.push_back(point.index);
    lot.cost += estimated_cost(point);
    warms_up |= warmup_limit(point) > 0;
  }
  std::vector<Lot> lots;
  if (warms_up && groups.size() >= num_shards) {
    for (auto& [group, lot] : groups) lots.push_back(std::move(lot));
  } else {
    for (const Point& point : scenario.points) lots.push_back({estimated_cost(point), {point.index}});
  }
  std::stable_sort(lots.begin(), lots.end(), [](const Lot& a, const Lot& b) { return a.cost > b.cost; });
  return lots;
}

std::optional<std::size_t> whole_number(std::string_view text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string shard_name(const Shard& shard) { return fmt::format("shard {} of {}", shard.index, shard.count); }

std::vector<std::filesystem::path> shard_folders(const std::filesystem::path& out) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(out, error)) {
    if (entry.is_directory() && entry.path().filename().string().starts_with("shard-")) folders.push_back(entry.path());
  }
  if (error) throw ConfigError(fmt::format("{}: cannot be read: {}", out.string(), error.message()));
  if (folders.empty()) {
    throw ConfigError(fmt::format("{}: holds no shard-* folder; `sweep --shard I/N --out {}` makes them", out.string(),
                                  out.string()));
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

Shard shard_of(const Json& resolved, const std::filesystem::path& file) {
  const JsonValue value = JsonValue(resolved, file.string()).key("shard");
  const std::int64_t count = value.key("count").as_integer(1, kMaxShards, "shards");
  return {static_cast<std::size_t>(value.key("index").as_integer(0, count - 1, "")), static_cast<std::size_t>(count)};
}

/// What each folder must say alike.
Json common_part(Json resolved) {
  resolved.at("shard").erase("index");
  resolved.at("shard").erase("points");
  return resolved;
}

}  // namespace

Shard parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) {
    const auto index = whole_number(std::string_view(text).substr(0, slash));
    const auto count = whole_number(std::string_view(text).substr(slash + 1));
    if (index && count && *index < *count && *count <= kMaxShards) return {*index, *count};
  }
  throw ConfigError(fmt::format(
      "--shard: found \"{}\"; expected I/N with I from 0 to N - 1, N at most {}: 0/4, 1/4, ...", text, kMaxShards));
}

std::vector<std::size_t> points_of_shard(const Scenario& scenario, const Shard& shard) {
  // Each lot to the shard with the least so far, the largest lots first.
  std::vector<double> totals(shard.count, 0);
  std::vector<std::size_t> mine;
  for (const Lot& lot : lots_of(scenario, shard.count)) {
    const auto least = std::min_element(totals.begin(), totals.end());
    *least += lot.cost;
    if (static_cast<std::size_t>(least - totals.begin()) == shard.index) {
      mine.insert(mine.end(), lot.points.begin(), lot.points.end());
    }
  }
  std::sort(mine.begin(), mine.end());
  return mine;
}

std::filesystem::path shard_folder(const std::filesystem::path& out, const Shard& shard) {
  const std::size_t width = std::to_string(shard.count - 1).size();
  return out / fmt::format("shard-{:0{}}-of-{}", shard.index, width, shard.count);
}

Json shard_description(const Scenario& scenario, const Shard& shard) {
  return {{"index", shard.index},        {"count", shard.count},
          {"name", scenario.name},       {"description", scenario.description},
          {"axes", scenario.axis_names}, {"points", points_of_shard(scenario, shard)}};
}

MergedSweep read_shards(const std::filesystem::path& out) {
  MergedSweep merged;
  Json common;
  std::filesystem::path first;
  std::vector<bool> seen;
  std::map<std::size_t, Json> rows;
  std::vector<std::string> lacking;
  for (const std::filesystem::path& folder : shard_folders(out)) {
    const std::filesystem::path file = folder / "resolved.json";
    const Json resolved = read_json_file(file);
    const Shard shard = shard_of(resolved, file);
    if (first.empty()) {
      first = folder;
      common = common_part(resolved);
      seen.resize(shard.count, false);
    }
    if (const std::string difference = record::first_difference(common, common_part(resolved)); !difference.empty()) {
      throw ConfigError(
          fmt::format("{} and {} are of different sweeps: {}", first.string(), folder.string(), difference));
    }
    seen[shard.index] = true;
    const record::ResultFolder journal(folder, resolved, record::ResultFolder::Mode::resume);
    std::size_t num_done = 0;
    const Json& points = resolved.at("shard").at("points");
    for (const Json& number : points) {
      const auto point = number.get<std::size_t>();
      const Json* row = journal.row(point);
      if (row == nullptr) continue;
      rows[point] = *row;
      ++num_done;
    }
    if (num_done < points.size()) {
      lacking.push_back(fmt::format("{} has {} of {} points", shard_name(shard), num_done, points.size()));
    }
  }
  for (std::size_t index = 0; index < seen.size(); ++index) {
    if (!seen[index]) lacking.push_back(fmt::format("{} was not run", shard_name({index, seen.size()})));
  }
  if (!lacking.empty()) {
    throw ConfigError(fmt::format("{}: not all points are there: {}; run `sweep --shard I/{} --resume` for those",
                                  out.string(), fmt::join(lacking, ", "), seen.size()));
  }
  for (auto& [point, row] : rows) merged.rows.push_back(std::move(row));
  const Json shard = common.at("shard");
  merged.axis_names = shard.at("axes").get<std::vector<std::string>>();
  merged.summary = make_summary(shard.at("name").get<std::string>(), shard.at("description").get<std::string>(),
                                merged.axis_names, merged.rows);
  common.erase("shard");
  merged.resolved = std::move(common);
  return merged;
}

}  // namespace reprefill::sim
