#include "core/record/timeline.hpp"

#include <gtest/gtest.h>

#include <set>

namespace reprefill::record {
namespace {

Span span(Resource resource, std::int64_t start, std::int64_t end) {
  return {.operation = Operation::read,
          .resource = resource,
          .layer_idx = 3,
          .ready = Nanoseconds{start},
          .start = Nanoseconds{start},
          .end = Nanoseconds{end}};
}

TEST(Timeline, OverlappingSpansOfOneResourceGetLanesOfTheirOwn) {
  const Span spans[] = {span(Resource::ssd_demand, 0, 100), span(Resource::ssd_demand, 50, 150),
                        span(Resource::ssd_demand, 100, 120)};
  const Json timeline = make_timeline(spans);
  EXPECT_TRUE(check_timeline(timeline).empty());
  std::set<int> lanes;
  for (const Json& event : timeline["traceEvents"]) {
    if (event["ph"] == "X") lanes.insert(event["tid"].get<int>());
  }
  EXPECT_EQ(lanes.size(), 2u);  // the third fits behind the first, to the nanosecond
}

TEST(Timeline, TheCheckerFindsOverlapsNegativeTimesAndMissingFields) {
  const Span spans[] = {span(Resource::host, 0, 100)};
  Json timeline = make_timeline(spans);
  Json event = timeline["traceEvents"].back();
  event["ts"] = 0.05;
  timeline["traceEvents"].push_back(event);
  EXPECT_EQ(check_timeline(timeline).size(), 1u);
  timeline["traceEvents"].back()["dur"] = -1;
  EXPECT_FALSE(check_timeline(timeline).empty());
  timeline["traceEvents"].back().erase("ts");
  EXPECT_EQ(check_timeline(timeline).size(), 1u);
  EXPECT_FALSE(check_timeline(Json::array()).empty());
}

}  // namespace
}  // namespace reprefill::record
