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

TEST(Timeline, TimesAreExactToTheNanosecond) {
  const Span spans[] = {{.operation = Operation::read,
                         .resource = Resource::ssd_demand,
                         .request = 7,
                         .bytes = Bytes{4096},
                         .issued = Nanoseconds{1},
                         .ready = Nanoseconds{1'002},
                         .start = Nanoseconds{3'600'000'000'001},
                         .end = Nanoseconds{3'600'000'001'004}}};
  const std::string text = make_timeline(spans)["traceEvents"].back().dump();
  for (const char* field : {"\"ts\":3600000000.001,", "\"dur\":1.003,", "\"issued_us\":0.001", "\"ready_us\":1.002",
                            "\"request\":7", "\"bytes\":4096"}) {
    EXPECT_NE(text.find(field), std::string::npos) << field << " in " << text;
  }
  EXPECT_EQ(text.find("\"layer\""), std::string::npos);
}

TEST(Timeline, ASpanWithoutLengthInsideAnotherGetsItsOwnLaneAndOneAtItsEndDoesNot) {
  const Span spans[] = {span(Resource::host, 0, 10), span(Resource::host, 5, 5), span(Resource::host, 10, 10)};
  const Json timeline = make_timeline(spans);
  EXPECT_TRUE(check_timeline(timeline).empty());
  std::vector<int> lanes;
  for (const Json& event : timeline["traceEvents"]) {
    if (event["ph"] == "X") lanes.push_back(event["tid"].get<int>());
  }
  ASSERT_EQ(lanes.size(), 3u);
  EXPECT_NE(lanes[0], lanes[1]);
  EXPECT_EQ(lanes[0], lanes[2]);
}

TEST(Timeline, FieldsOfAnotherTypeAreProblemsAndNoExceptions) {
  const Span spans[] = {span(Resource::host, 0, 100)};
  for (const char* key : {"ph", "name", "pid", "tid", "ts", "dur"}) {
    Json timeline = make_timeline(spans);
    timeline["traceEvents"].back()[key] = Json::array();
    EXPECT_EQ(check_timeline(timeline).size(), 1u) << key;
  }
  Json timeline = make_timeline(spans);
  timeline["traceEvents"].push_back(3);
  EXPECT_EQ(check_timeline(timeline).size(), 1u);
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
