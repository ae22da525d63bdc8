#include "core/record/timeline.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/files.hpp"

namespace reprefill::record {
namespace {

constexpr int kProcess = 1;
constexpr int kLanesPerResource = 10'000;

double microseconds(Nanoseconds time) { return static_cast<double>(time.value) / 1000.0; }

Json event_of(const Span& span, int lane) {
  Json args = {{"request", span.request},
               {"bytes", span.bytes.value},
               {"issued_us", microseconds(span.issued)},
               {"ready_us", microseconds(span.ready)}};
  if (span.layer_idx >= 0) args["layer"] = span.layer_idx;
  return {{"name", span.layer_idx >= 0 ? fmt::format("{} L{}", name_of(span.operation), span.layer_idx)
                                       : name_of(span.operation)},
          {"cat", name_of(span.resource)},
          {"ph", "X"},
          {"pid", kProcess},
          {"tid", lane},
          {"ts", microseconds(span.start)},
          {"dur", microseconds(span.end - span.start)},
          {"args", args}};
}

Json lane_name(Resource resource, int slot, int lane) {
  return {{"name", "thread_name"},
          {"ph", "M"},
          {"pid", kProcess},
          {"tid", lane},
          {"args",
           {{"name", slot == 0 ? std::string(name_of(resource)) : fmt::format("{} #{}", name_of(resource), slot)}}}};
}

bool has_string(const Json& event, const char* key) { return event.contains(key) && event[key].is_string(); }
bool has_integer(const Json& event, const char* key) { return event.contains(key) && event[key].is_number_integer(); }
bool has_number(const Json& event, const char* key) { return event.contains(key) && event[key].is_number(); }

std::int64_t nanoseconds(const Json& microseconds) {
  return static_cast<std::int64_t>(std::llround(microseconds.get<double>() * 1000.0));
}

}  // namespace

Json make_timeline(std::span<const Span> spans) {
  std::vector<const Span*> ordered;
  for (const Span& span : spans) ordered.push_back(&span);
  std::stable_sort(ordered.begin(), ordered.end(), [](const Span* a, const Span* b) { return a->start < b->start; });
  Json events = Json::array();
  std::map<Resource, std::vector<Nanoseconds>> lane_free_at;
  for (const Span* span : ordered) {
    std::vector<Nanoseconds>& lanes = lane_free_at[span->resource];
    std::size_t slot = 0;
    while (slot < lanes.size() && lanes[slot] > span->start) ++slot;
    const int lane = static_cast<int>(span->resource) * kLanesPerResource + static_cast<int>(slot);
    if (slot == lanes.size()) {
      REPREFILL_CHECK(slot < kLanesPerResource, "more than {} spans of {} at once", kLanesPerResource,
                      name_of(span->resource));
      lanes.emplace_back();
      events.push_back(lane_name(span->resource, static_cast<int>(slot), lane));
    }
    lanes[slot] = span->end;
    events.push_back(event_of(*span, lane));
  }
  return {{"displayTimeUnit", "ns"}, {"traceEvents", std::move(events)}};
}

void write_timeline(const std::filesystem::path& path, std::span<const Span> spans) {
  const Json timeline = make_timeline(spans);
  const std::vector<std::string> problems = check_timeline(timeline);
  REPREFILL_CHECK(problems.empty(), "the timeline is malformed: {}", problems.front());
  write_file_atomically(path, timeline.dump() + "\n");
}

std::vector<std::string> check_timeline(const Json& timeline) {
  std::vector<std::string> problems;
  if (!timeline.is_object() || !timeline.contains("traceEvents") || !timeline["traceEvents"].is_array()) {
    return {"traceEvents is missing"};
  }
  std::map<std::pair<int, int>, std::vector<std::pair<std::int64_t, std::int64_t>>> lanes;
  std::size_t index = 0;
  for (const Json& event : timeline["traceEvents"]) {
    const auto complain = [&](const char* what) { problems.push_back(fmt::format("event {}: {}", index, what)); };
    ++index;
    if (!has_string(event, "ph") || !has_string(event, "name") || !has_integer(event, "pid") ||
        !has_integer(event, "tid")) {
      complain("ph, pid, tid or name is missing or of another type");
      continue;
    }
    if (event["ph"] != "X") continue;
    if (!has_number(event, "ts") || !has_number(event, "dur")) {
      complain("ts or dur is missing or no number");
      continue;
    }
    const std::int64_t start = nanoseconds(event["ts"]), duration = nanoseconds(event["dur"]);
    if (start < 0 || duration < 0) complain("negative time");
    lanes[{event["pid"].get<int>(), event["tid"].get<int>()}].emplace_back(start, start + duration);
  }
  for (auto& [lane, slices] : lanes) {
    std::sort(slices.begin(), slices.end());
    for (std::size_t i = 1; i < slices.size(); ++i) {
      if (slices[i].first < slices[i - 1].second) {
        problems.push_back(fmt::format("lane {}: slices overlap at {} ns", lane.second, slices[i].first));
      }
    }
  }
  return problems;
}

}  // namespace reprefill::record
