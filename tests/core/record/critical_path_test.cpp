#include "core/record/critical_path.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace reprefill::record {
namespace {

constexpr Nanoseconds ns(std::int64_t value) { return Nanoseconds{value}; }

Span span(Resource resource, int layer, std::int64_t ready, std::int64_t start, std::int64_t end,
          bool behind_other = false) {
  return {.operation = Operation::read,
          .resource = resource,
          .layer_idx = layer,
          .ready = ns(ready),
          .start = ns(start),
          .end = ns(end),
          .queued_behind_other = behind_other};
}

/// (kind, span, from, to) of each step, so that a failure prints the whole path.
using Step = std::tuple<PathStep::Kind, std::size_t, std::int64_t, std::int64_t>;
std::vector<Step> path(std::int64_t arrival, std::int64_t admission, std::int64_t end, std::span<const Span> spans) {
  std::vector<Step> steps;
  for (const PathStep& step : critical_path(ns(arrival), ns(admission), ns(end), spans)) {
    steps.emplace_back(step.kind, step.span, step.from.value, step.to.value);
  }
  return steps;
}
constexpr auto kOperation = PathStep::Kind::operation;
constexpr auto kOwn = PathStep::Kind::queued_own;
constexpr auto kOther = PathStep::Kind::queued_other;
constexpr auto kGap = PathStep::Kind::gap;
constexpr auto kAdmission = PathStep::Kind::admission;

TEST(CriticalPath, FollowsWhatEndedWhenTheNextBecameReady) {
  // read 0-40 -> copy 40-50 -> attend 50-70; a projection 0-10 is not on the path.
  const Span spans[] = {span(Resource::gpu_compute, 0, 0, 0, 10), span(Resource::ssd_demand, 0, 0, 0, 40),
                        span(Resource::link_h2d_gather, 0, 40, 40, 50), span(Resource::gpu_compute, 0, 50, 50, 70)};
  EXPECT_EQ(path(0, 0, 70, spans),
            (std::vector<Step>{{kOperation, 1, 0, 40}, {kOperation, 2, 40, 50}, {kOperation, 3, 50, 70}}));
}

TEST(CriticalPath, GoesOnWithTheOwnOperationThatHeldTheDevice) {
  // The second attention was ready at 5, but the first one held the GPU until 30.
  const Span spans[] = {span(Resource::gpu_compute, 0, 0, 0, 30), span(Resource::gpu_compute, 1, 5, 30, 50),
                        span(Resource::ssd_demand, 1, 0, 0, 5)};
  EXPECT_EQ(path(0, 0, 50, spans), (std::vector<Step>{{kOperation, 0, 0, 30}, {kOperation, 1, 30, 50}}));
}

TEST(CriticalPath, ScoringHoldsTheComputeStreamToo) {
  const Span spans[] = {span(Resource::scoring, 0, 0, 0, 30), span(Resource::gpu_compute, 1, 5, 30, 50)};
  EXPECT_EQ(path(0, 0, 50, spans), (std::vector<Step>{{kOperation, 0, 0, 30}, {kOperation, 1, 30, 50}}));
}

TEST(CriticalPath, AWaitForAnotherRequestsOperationIsNamedSo) {
  const Span spans[] = {span(Resource::ssd_demand, 0, 0, 0, 5), span(Resource::gpu_compute, 0, 5, 30, 50, true)};
  EXPECT_EQ(path(0, 0, 50, spans),
            (std::vector<Step>{{kOperation, 0, 0, 5}, {kOther, 1, 5, 30}, {kOperation, 1, 30, 50}}));
}

TEST(CriticalPath, AWaitForAQueueSlotOfTheOwnReadsIsQueueingBehindItsOwn) {
  // A slot came free at 10, when a part of the first read was done: no operation ended there.
  const Span spans[] = {span(Resource::ssd_demand, 0, 0, 0, 40), span(Resource::ssd_demand, 1, 0, 10, 60)};
  EXPECT_EQ(path(0, 0, 60, spans), (std::vector<Step>{{kOwn, 1, 0, 10}, {kOperation, 1, 10, 60}}));
}

TEST(CriticalPath, WritesAndDemotionsAreNeverWaitedFor) {
  const Span spans[] = {span(Resource::gpu_compute, 0, 0, 0, 20), span(Resource::link_d2h, 0, 0, 0, 20),
                        span(Resource::ssd_write, 0, 0, 10, 20), span(Resource::gpu_compute, 1, 20, 20, 30)};
  EXPECT_EQ(path(0, 0, 30, spans), (std::vector<Step>{{kOperation, 0, 0, 20}, {kOperation, 3, 20, 30}}));
}

TEST(CriticalPath, OfOperationsThatEndTogetherTheNearestLayerComesFirst) {
  const Span spans[] = {span(Resource::link_h2d_copy, 7, 0, 0, 20), span(Resource::link_h2d_gather, 3, 5, 5, 20),
                        span(Resource::ssd_demand, 3, 0, 0, 5), span(Resource::gpu_compute, 3, 20, 20, 30)};
  EXPECT_EQ(path(0, 0, 30, spans),
            (std::vector<Step>{{kOperation, 2, 0, 5}, {kOperation, 1, 5, 20}, {kOperation, 3, 20, 30}}));
}

TEST(CriticalPath, TimeInWhichNothingRanIsAGapAndTheWaitForAdmissionItsOwnStep) {
  const Span spans[] = {span(Resource::gpu_compute, 0, 25, 25, 40), span(Resource::gpu_compute, 1, 60, 60, 70)};
  EXPECT_EQ(path(5, 20, 75, spans), (std::vector<Step>{{kAdmission, 0, 5, 20},
                                                       {kGap, 0, 20, 25},
                                                       {kOperation, 0, 25, 40},
                                                       {kGap, 0, 40, 60},
                                                       {kOperation, 1, 60, 70},
                                                       {kGap, 0, 70, 75}}));
}

TEST(CriticalPath, WithoutAnOperationAllIsGap) {
  EXPECT_EQ(path(0, 0, 10, {}), (std::vector<Step>{{kGap, 0, 0, 10}}));
  EXPECT_TRUE(path(3, 3, 3, {}).empty());
}

TEST(CriticalPath, OperationsOfNoDurationDoNotTrapIt) {
  const Span spans[] = {span(Resource::host, -1, 10, 10, 10), span(Resource::host, -1, 10, 10, 10),
                        span(Resource::gpu_compute, 0, 10, 10, 20), span(Resource::host, -1, 0, 0, 10)};
  EXPECT_EQ(path(0, 0, 20, spans), (std::vector<Step>{{kOperation, 3, 0, 10}, {kOperation, 2, 10, 20}}));
}

TEST(CriticalPath, WhatBeganBeforeTheAdmissionIsCutThere) {
  const Span spans[] = {span(Resource::ssd_demand, 0, 0, 0, 30)};
  EXPECT_EQ(path(0, 10, 30, spans), (std::vector<Step>{{kAdmission, 0, 0, 10}, {kOperation, 0, 10, 30}}));
}

TEST(CriticalPath, TilesTheTimeOfAnySpans) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<Span> spans;
    const auto draw = [&](int limit) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(limit)); };
    for (std::int64_t i = draw(30); i > 0; --i) {
      const std::int64_t ready = draw(50), start = ready + draw(3) * draw(6), end = start + draw(12);
      spans.push_back(
          span(static_cast<Resource>(draw(kNumResources)), static_cast<int>(draw(5)), ready, start, end, draw(2) == 0));
    }
    const std::int64_t arrival = draw(10), admission = arrival + draw(10), end = admission + draw(60);
    std::int64_t now = arrival;
    for (const auto& [kind, index, from, to] : path(arrival, admission, end, spans)) {
      ASSERT_EQ(from, now) << "round " << round;
      ASSERT_LT(from, to);
      if (kind == kOperation) {
        EXPECT_LE(spans[index].start.value, from);
        EXPECT_EQ(spans[index].end.value, to);
        EXPECT_FALSE(is_background(spans[index]));
      }
      now = to;
    }
    EXPECT_EQ(now, end);
  }
}

}  // namespace
}  // namespace reprefill::record
