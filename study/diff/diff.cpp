#include "study/diff/diff.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "core/base/text_table.hpp"

namespace reprefill::study {
namespace {

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Of a mean, resampling all values by themselves.
std::optional<Interval> bootstrap(std::span<const double> values, std::uint64_t seed) {
  if (values.size() < 2) return std::nullopt;
  std::vector<std::size_t> clusters(values.size());
  std::iota(clusters.begin(), clusters.end(), 0u);
  return cluster_bootstrap_mean(values, clusters, seed);
}

/// Differences relative to the mean of A: their mean is the difference of the means.
DiffEntry compare_pairs(std::string key, std::span<const double> a, std::span<const double> b,
                        const DiffOptions& options) {
  DiffEntry entry{.key = std::move(key), .num_pairs = a.size(), .mean_a = mean_of(a), .mean_b = mean_of(b)};
  std::vector<double> differences;
  for (std::size_t i = 0; i < a.size(); ++i) {
    // From nothing to something has no relative size: it is left as it is, so that its sign counts.
    const double scale = entry.mean_a == 0 ? 1 : std::abs(entry.mean_a);
    differences.push_back((b[i] - a[i]) / scale);
  }
  entry.difference = mean_of(differences);
  entry.interval = bootstrap(differences, options.seed);
  entry.verdict = diff_verdict(entry.difference, entry.interval, options);
  return entry;
}

void require_same_schema(const ResultSamples& a, const ResultSamples& b) {
  if (a.kind == b.kind && a.schema_version == b.schema_version) return;
  throw ConfigError(
      fmt::format("the first result has {} rows of schema {}, the second {} rows of schema {}: numbers of one name may "
                  "mean different things; make both with one version of reprefill",
                  a.kind, a.schema_version, b.kind, b.schema_version));
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

/// The only value of an axis over all points that have it; null where there are several, or none.
Json single_value(const ResultSamples& samples, const std::string& axis) {
  Json only = nullptr;
  for (const ResultPoint& point : samples.points) {
    if (!point.axes.contains(axis)) continue;
    if (!only.is_null() && only != point.axes[axis]) return nullptr;
    only = point.axes[axis];
  }
  return only;
}

/// Names points alike in both results.
class PointKeys {
 public:
  PointKeys(const ResultSamples& a, const ResultSamples& b) {
    for (const ResultSamples* samples : {&a, &b}) {
      for (const ResultPoint& point : samples->points) {
        for (const auto& [axis, value] : point.axes.items()) add(axis, single_value(a, axis), single_value(b, axis));
      }
    }
  }
  std::string operator()(const ResultPoint& point) const {
    std::string key = point.label;
    for (const auto& [axis, value] : point.axes.items()) {
      if (!left_out_.contains(axis)) key += fmt::format(" {}={}", axis, text_of(value));
    }
    return key;
  }
  const std::vector<std::string>& changed() const { return changed_; }

 private:
  void add(const std::string& axis, const Json& in_a, const Json& in_b) {
    if (in_a.is_null() || in_b.is_null() || in_a == in_b || !left_out_.insert(axis).second) return;
    changed_.push_back(fmt::format("{}: {} in A, {} in B", axis, text_of(in_a), text_of(in_b)));
  }
  std::set<std::string> left_out_;
  std::vector<std::string> changed_;
};

std::string percent(double share) { return fmt::format("{:+.2f} %", 100 * share); }

std::vector<std::string> table_row(const DiffEntry& entry) {
  return {entry.key,
          std::to_string(entry.num_pairs),
          fmt::format("{:.4g}", entry.mean_a),
          fmt::format("{:.4g}", entry.mean_b),
          percent(entry.difference),
          entry.interval ? fmt::format("{} .. {}", percent(entry.interval->low), percent(entry.interval->high)) : "-",
          enum_name(entry.verdict)};
}

Json entry_json(const DiffEntry& entry) {
  return {{"key", entry.key},
          {"pairs", entry.num_pairs},
          {"mean_a", entry.mean_a},
          {"mean_b", entry.mean_b},
          {"relative_difference", entry.difference},
          {"interval_95", entry.interval ? Json({entry.interval->low, entry.interval->high}) : Json(nullptr)},
          {"verdict", enum_name(entry.verdict)}};
}

}  // namespace

DiffVerdict diff_verdict(double difference, const std::optional<Interval>& interval, const DiffOptions& options) {
  if (!interval) return difference == 0 ? DiffVerdict::same : DiffVerdict::ambiguous;
  if (interval->low >= -options.margin && interval->high <= options.margin) return DiffVerdict::same;
  if (interval->low > 0) return options.higher_is_better ? DiffVerdict::better : DiffVerdict::worse;
  if (interval->high < 0) return options.higher_is_better ? DiffVerdict::worse : DiffVerdict::better;
  return DiffVerdict::ambiguous;
}

DiffResult diff_results(const ResultSamples& a, const ResultSamples& b, const DiffOptions& options) {
  require_same_schema(a, b);
  if (a.pair_by != b.pair_by) {
    throw ConfigError("only one of the results has requests: --by point, or sweep both with keep_requests");
  }
  const PointKeys key_of(a, b);
  DiffResult result{.pair_by = a.pair_by, .changed_axes = key_of.changed()};
  std::map<std::string, const ResultPoint*> of_b;
  for (const ResultPoint& point : b.points) of_b.emplace(key_of(point), &point);
  std::vector<double> all_a, all_b, differences;
  for (const ResultPoint& point : a.points) {
    const std::string key = key_of(point);
    const auto partner = of_b.find(key);
    if (partner == of_b.end()) {
      result.only_in_a.push_back(key);
      continue;
    }
    std::map<std::string, double> values;
    for (const ResultSample& sample : partner->second->samples) values.emplace(sample.pair, sample.value);
    std::vector<double> left, right;
    for (const ResultSample& sample : point.samples) {
      const auto found = values.find(sample.pair);
      if (found == values.end()) continue;
      left.push_back(sample.value);
      right.push_back(found->second);
    }
    result.unpaired_samples += point.samples.size() + values.size() - 2 * left.size();
    of_b.erase(partner);
    if (left.empty()) continue;
    result.points.push_back(compare_pairs(key, left, right, options));
    const DiffEntry& entry = result.points.back();
    all_a.push_back(entry.mean_a);
    all_b.push_back(entry.mean_b);
    differences.push_back(entry.difference);
  }
  for (const ResultPoint& point : b.points) {
    if (of_b.contains(key_of(point))) result.only_in_b.push_back(key_of(point));
  }
  if (result.points.empty()) {
    throw ConfigError(fmt::format("the results have no point in common: the first has \"{}\", the second \"{}\"",
                                  key_of(a.points.front()), key_of(b.points.front())));
  }
  result.all = {.key = "all points",
                .num_pairs = differences.size(),
                .mean_a = mean_of(all_a),
                .mean_b = mean_of(all_b),
                .difference = mean_of(differences),
                .interval = bootstrap(differences, options.seed),
                .verdict = DiffVerdict::ambiguous};
  result.all.verdict = diff_verdict(result.all.difference, result.all.interval, options);
  return result;
}

Json to_json(const DiffResult& result) {
  Json json = {{"schema_version", 1}, {"paired_by", enum_name(result.pair_by)}, {"points", Json::array()}};
  for (const DiffEntry& entry : result.points) json["points"].push_back(entry_json(entry));
  json["all"] = entry_json(result.all);
  json["changed_axes"] = result.changed_axes;
  json["only_in_a"] = result.only_in_a;
  json["only_in_b"] = result.only_in_b;
  json["unpaired_samples"] = result.unpaired_samples;
  return json;
}

std::string diff_table(const DiffResult& result, bool markdown) {
  TextTable table({"point", "pairs", "A", "B", "B - A", "95 % interval", "B is"});
  for (const DiffEntry& entry : result.points) table.add_row(table_row(entry));
  if (result.points.size() > 1) table.add_row(table_row(result.all));
  return markdown ? table.to_markdown() : table.to_text();
}

}  // namespace reprefill::study
