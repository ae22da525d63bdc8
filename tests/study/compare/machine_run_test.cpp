// What goes into a journal comes back as it was.
#include "study/compare/machine_run.hpp"

#include <gtest/gtest.h>

#include "core/record/timeline.hpp"
#include "study/compare/overlay_timeline.hpp"

namespace reprefill::study {
namespace {

using record::Operation;
using record::Resource;

record::Span span(Operation operation, Resource resource, std::int64_t start, std::int64_t end) {
  return {.operation = operation,
          .resource = resource,
          .request = 3,
          .layer_idx = 1,
          .bytes = Bytes{4096},
          .issued = Nanoseconds{start - 2},
          .ready = Nanoseconds{start - 1},
          .start = Nanoseconds{start},
          .end = Nanoseconds{end}};
}

MachineRun some_run() {
  pipeline::Request request;
  request.account.num_reads = 7;
  request.account.payload_requested = Bytes{12345};
  record::TimeBreakdown time;
  time[record::TimeClass::gpu_compute] = Nanoseconds{60};
  time[record::TimeClass::ssd] = Nanoseconds{40};
  time.identification = Nanoseconds{11};
  const std::vector<record::Span> spans = {span(Operation::read, Resource::ssd_demand, 1010, 1030),
                                           span(Operation::read, Resource::ssd_demand, 1020, 1050),
                                           span(Operation::attend, Resource::gpu_compute, 1050, 1110)};
  MachineRun run;
  run.requests = {measured_request(request, Nanoseconds{100}, time, spans)};
  run.warmup_accounts.push_back(account_json({}));
  run.num_decisions = 5;
  run.decisions_digest = "00000000000000ff";
  run.identification_digest = "0000000000000001";
  run.timeline = from_arrival(spans, Nanoseconds{1008});
  return run;
}

TEST(MachineRun, SpansOfAKindAddUp) {
  const MachineRun run = some_run();
  const auto reads = static_cast<std::size_t>(span_kind_of(span(Operation::read, Resource::ssd_demand, 2, 3)));
  EXPECT_EQ(run.requests[0].spans[reads], (SpanTotal{.count = 2, .service = Nanoseconds{50}}));
  EXPECT_EQ(span_kind_name(static_cast<int>(reads)), "read on ssd_demand");
  const record::Span other = span(Operation::read, Resource::ssd_prefetch, 2, 3);
  EXPECT_EQ(run.requests[0].spans[static_cast<std::size_t>(span_kind_of(other))].count, 0u);
}

TEST(MachineRun, EveryKindOfSpanHasAPlaceAndAName) {
  const record::Span last = span(Operation::cache_update, Resource::host, 2, 3);
  EXPECT_EQ(span_kind_of(last), kNumSpanKinds - 1);
  EXPECT_EQ(span_kind_name(kNumSpanKinds - 1), "cache_update on host");
}

TEST(MachineRun, ComesBackFromJson) {
  const MachineRun run = some_run();
  const Json json = Json::parse(to_json(run).dump());
  const MachineRun back = machine_run_from_json(json);
  EXPECT_EQ(to_json(back), json);
  EXPECT_EQ(back.requests[0].ttft, Nanoseconds{100});
  EXPECT_EQ(back.requests[0].time.total(), Nanoseconds{100});
  EXPECT_EQ(back.requests[0].account.at("num_reads"), 7);
  EXPECT_EQ(back.requests[0].account.at("payload_requested_bytes"), 12345);
}

TEST(MachineRun, TimelinesCountFromTheArrivalAndComeBack) {
  const MachineRun run = some_run();
  EXPECT_EQ(run.timeline[0].issued, Nanoseconds{0});
  EXPECT_EQ(run.timeline[2].end, Nanoseconds{102});
  const std::vector<record::Span> back = spans_from_json(Json::parse(spans_json(run.timeline).dump()));
  EXPECT_EQ(spans_json(back), spans_json(run.timeline));
}

TEST(OverlayTimeline, EachMachineIsAProcessAndTheTraceIsSound) {
  OverlayTimeline timeline;
  timeline.add("engine", some_run().timeline);
  timeline.add("simulator", some_run().timeline);
  const Json json = timeline.json();
  EXPECT_TRUE(record::check_timeline(json).empty());
  std::map<int, int> slices;
  std::map<int, std::string> names;
  for (const Json& event : json.at("traceEvents")) {
    if (event["ph"] == "X") ++slices[event["pid"].get<int>()];
    if (event["name"] == "process_name") names[event["pid"].get<int>()] = event["args"]["name"];
  }
  EXPECT_EQ(slices, (std::map<int, int>{{1, 3}, {2, 3}}));
  EXPECT_EQ(names, (std::map<int, std::string>{{1, "engine"}, {2, "simulator"}}));
}

TEST(OverlayTimeline, ARequestWithoutSpansLeavesOnlyItsName) {
  OverlayTimeline timeline;
  timeline.add("engine", {});
  EXPECT_TRUE(record::check_timeline(timeline.json()).empty());
}

}  // namespace
}  // namespace reprefill::study
