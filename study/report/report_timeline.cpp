#include "study/report/report_timeline.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "core/base/progress.hpp"
#include "sim/simulation/result_row.hpp"
#include "sim/simulation/run_point.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "sim/sweep/point_cost.hpp"
#include "sim/sweep/sweep.hpp"

namespace reprefill::study {
namespace {

/// The resource's queue slots: a lane holds no two slices at the same time.
class Lanes {
 public:
  std::size_t place(const record::Span& span) {
    std::vector<Lane>& lanes = of_resource_[span.resource];
    for (Lane& lane : lanes) {
      if (lane.free_at <= span.start) {
        lane.free_at = span.end;
        return lane.number;
      }
    }
    lanes.push_back({span.end, names_.size()});
    const std::string resource = record::name_of(span.resource);
    names_.push_back(lanes.size() == 1 ? resource : fmt::format("{} #{}", resource, lanes.size()));
    order_.emplace_back(static_cast<int>(span.resource), lanes.size(), lanes.back().number);
    return lanes.back().number;
  }
  /// Lane numbers in reading order: by resource, then slot.
  std::vector<std::size_t> rank() const {
    auto order = order_;
    std::sort(order.begin(), order.end());
    std::vector<std::size_t> rank(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) rank[std::get<2>(order[i])] = i;
    return rank;
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  struct Lane {
    Nanoseconds free_at;
    std::size_t number;
  };
  std::map<record::Resource, std::vector<Lane>> of_resource_;
  std::vector<std::string> names_;
  std::vector<std::tuple<int, std::size_t, std::size_t>> order_;
};

/// Of requests that reach their first token: what a warm-up request leaves behind (its cache update) is no time line.
std::vector<const record::Span*> first_requests(std::span<const record::Span> spans, const TimelineLimits& limits,
                                                std::size_t& left_out) {
  std::set<std::uint32_t> requests;
  for (const record::Span& span : spans) {
    if (span.operation == record::Operation::first_token) requests.insert(span.request);
  }
  while (requests.size() > limits.num_requests) requests.erase(std::prev(requests.end()));
  std::vector<const record::Span*> kept;
  for (const record::Span& span : spans) {
    if (requests.contains(span.request)) kept.push_back(&span);
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [](const record::Span* a, const record::Span* b) { return a->start < b->start; });
  left_out = kept.size() - std::min(kept.size(), limits.num_spans);
  kept.resize(kept.size() - left_out);
  return kept;
}

const Json& row_of_point(const ResultSet& result, std::size_t point) {
  for (const Json& row : result.rows) {
    if (row.contains("point") && row.at("point") == point) return row;
  }
  throw ConfigError(fmt::format("--timeline: found {}; {} has no row of that point", point, result.folder.string()));
}

sim::Scenario scenario_of(const ResultSet& result, const sim::ScenarioContext& context) {
  const std::string origin = (result.folder / "resolved.json").string();
  if (!result.resolved.is_object() || !result.resolved.contains("scenario")) {
    throw ConfigError(fmt::format("{}: has no key scenario, which a time line needs", origin));
  }
  return sim::read_scenario(result.resolved.at("scenario"), origin, {}, context);
}

Json simulate_timeline(const sim::Point& point, const Json& row, sim::SharedInputs& inputs,
                       const TimelineLimits& limits, const std::atomic<bool>& interrupted) {
  if (!row.contains("inputs") || row.at("inputs") != sim::inputs_hash(point)) {
    throw ConfigError(
        fmt::format("--timeline: point {} ({}) would not give its row again: scenario, models, profiles "
                    "or the program have changed since",
                    point.index, point.label));
  }
  const Json::json_pointer warmup("/workload/warmup_requests");
  if (!row.contains(warmup) || !row.at(warmup).is_number_unsigned()) {
    throw ConfigError(fmt::format("--timeline: the row of point {} has no workload.warmup_requests", point.index));
  }
  sim::check_inputs(point, inputs);
  const sim::RunResult run = sim::run_point(point, inputs,
                                            {.num_warmup = row.at(warmup).get<std::uint64_t>(),
                                             .stop_when_full = false,
                                             .keep_spans = true,
                                             .interrupted = &interrupted});
  Json timeline = timeline_columns(run.spans, limits);
  timeline["point"] = point.index;
  return timeline;
}

}  // namespace

std::vector<std::size_t> fastest_points(const ResultSet& result, std::size_t most) {
  struct Best {
    double ttft_ms;
    std::size_t point;
  };
  std::vector<std::string> order;
  std::map<std::string, Best> best;
  for (const Json& row : result.rows) {
    if (!row.contains("point") || !row.at("ttft").contains("mean_ttft_ms")) continue;
    const Json& ttft = row.at("ttft").at("mean_ttft_ms");
    if (!ttft.is_number() || row.value("verdict", "") == "BACKLOGGED") continue;
    const std::string key = row.at("label").get<std::string>() + "\n" + row.value("software_path", "");
    const Best candidate{ttft.get<double>(), row.at("point").get<std::size_t>()};
    const auto [found, is_new] = best.emplace(key, candidate);
    if (is_new) order.push_back(key);
    if (candidate.ttft_ms < found->second.ttft_ms) found->second = candidate;
  }
  std::vector<std::size_t> points;
  for (const std::string& key : order) {
    if (points.size() < most) points.push_back(best.at(key).point);
  }
  return points;
}

Json timeline_columns(std::span<const record::Span> spans, const TimelineLimits& limits) {
  std::size_t left_out = 0;
  const std::vector<const record::Span*> kept = first_requests(spans, limits, left_out);
  Lanes lanes;
  std::vector<std::size_t> placed;
  for (const record::Span* span : kept) placed.push_back(lanes.place(*span));
  const std::vector<std::size_t> rank = lanes.rank();
  Json json = {{"lanes", std::vector<std::string>(rank.size())}, {"names", Json::array()}};
  for (std::size_t i = 0; i < rank.size(); ++i) json["lanes"][rank[i]] = lanes.names()[i];
  for (const char* key : {"lane", "name", "start_ns", "length_ns", "wait_ns", "request", "layer", "bytes"}) {
    json[key] = Json::array();
  }
  std::map<std::string, std::size_t> names;
  const Nanoseconds origin = kept.empty() ? Nanoseconds{0} : kept.front()->start;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const record::Span& span = *kept[i];
    const auto [found, is_new] = names.emplace(record::name_of(span.operation), names.size());
    if (is_new) json["names"].push_back(found->first);
    json["lane"].push_back(rank[placed[i]]);
    json["name"].push_back(found->second);
    json["start_ns"].push_back((span.start - origin).value);
    json["length_ns"].push_back((span.end - span.start).value);
    json["wait_ns"].push_back((span.start - span.ready).value);
    json["request"].push_back(span.request);
    json["layer"].push_back(span.layer_idx);
    json["bytes"].push_back(span.bytes.value);
  }
  json["left_out"] = left_out;
  return json;
}

Json simulate_timelines(const ResultSet& result, const std::vector<std::size_t>& points,
                        const sim::ScenarioContext& context, const TimelineLimits& limits) {
  Json timelines = Json::array();
  if (points.empty()) return timelines;
  const sim::Scenario scenario = scenario_of(result, context);
  sim::SharedInputs inputs(context);
  std::vector<std::pair<const sim::Point*, const Json*>> chosen;
  std::vector<double> costs;
  for (const std::size_t point : points) {
    const Json& row = row_of_point(result, point);
    if (point >= scenario.points.size()) {
      throw ConfigError(fmt::format("{}: has {} points, so none with number {}", result.folder.string(),
                                    scenario.points.size(), point));
    }
    chosen.emplace_back(&scenario.points[point], &row);
    costs.push_back(sim::estimated_cost(scenario.points[point]));
  }
  Progress progress("time lines", costs, ProgressMode::automatic);
  std::mutex mutex;
  std::vector<Json> made(chosen.size());
  const sim::InterruptGuard interrupt;
  sim::run_points(
      costs, sim::num_usable_cores(),
      [&](std::size_t i) {
        made[i] = simulate_timeline(*chosen[i].first, *chosen[i].second, inputs, limits, interrupt.flag());
        const std::lock_guard lock(mutex);
        progress.done(i);
      },
      interrupt.flag());
  for (Json& timeline : made) timelines.push_back(std::move(timeline));
  return timelines;
}

}  // namespace reprefill::study
