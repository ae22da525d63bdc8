#include "core/record/time_classes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "core/base/error.hpp"

namespace reprefill::record {
namespace {

constexpr Nanoseconds ns(std::int64_t value) { return Nanoseconds{value}; }

Span span(Resource resource, std::int64_t ready, std::int64_t start, std::int64_t end, bool behind_other = false) {
  return {.operation = Operation::read,
          .resource = resource,
          .ready = ns(ready),
          .start = ns(start),
          .end = ns(end),
          .queued_behind_other = behind_other};
}

TEST(TimeClasses, ComputeClaimsTimeBeforeIoAndIoBeforeHost) {
  // 0     10      30      40      60   70   time
  //       [ read 10-40 ]
  //               [ compute 30-60 ]
  const Span spans[] = {span(Resource::ssd_demand, 10, 10, 40), span(Resource::gpu_compute, 30, 30, 60)};
  const TimeBreakdown time = classify_time(ns(0), ns(0), ns(70), spans);
  EXPECT_EQ(time[TimeClass::ssd], ns(20));
  EXPECT_EQ(time[TimeClass::gpu_compute], ns(30));
  EXPECT_EQ(time[TimeClass::host], ns(20));  // 0-10 and 60-70
  EXPECT_EQ(time.total(), ns(70));
}

TEST(TimeClasses, WaitingForAdmissionIsQueueing) {
  const TimeBreakdown time = classify_time(ns(5), ns(25), ns(30), {});
  EXPECT_EQ(time[TimeClass::queueing], ns(20));
  EXPECT_EQ(time[TimeClass::host], ns(5));
}

TEST(TimeClasses, QueuedBehindOwnReadsIsIoAndBehindOthersIsQueueing) {
  const Span own[] = {span(Resource::ssd_demand, 0, 10, 20, false)};
  EXPECT_EQ(classify_time(ns(0), ns(0), ns(20), own)[TimeClass::ssd], ns(20));
  const Span other[] = {span(Resource::ssd_demand, 0, 10, 20, true)};
  const TimeBreakdown time = classify_time(ns(0), ns(0), ns(20), other);
  EXPECT_EQ(time[TimeClass::queueing], ns(10));
  EXPECT_EQ(time[TimeClass::ssd], ns(10));
}

TEST(TimeClasses, AComputeOperationQueuedBehindOwnComputeIsNotCountedTwice) {
  const Span spans[] = {span(Resource::gpu_compute, 0, 0, 10), span(Resource::gpu_compute, 0, 10, 20)};
  EXPECT_EQ(classify_time(ns(0), ns(0), ns(20), spans)[TimeClass::gpu_compute], ns(20));
}

TEST(TimeClasses, ScoringIsAClassOfItsOwnAndIdentificationIsItsUnionWithKeyReads) {
  Span keys = span(Resource::ssd_demand, 0, 0, 30);
  keys.operation = Operation::read_keys;
  const Span spans[] = {keys, span(Resource::scoring, 20, 20, 50)};
  const TimeBreakdown time = classify_time(ns(0), ns(0), ns(60), spans);
  EXPECT_EQ(time[TimeClass::scoring], ns(30));
  EXPECT_EQ(time[TimeClass::ssd], ns(20));
  EXPECT_EQ(time.identification, ns(50));
}

TEST(TimeClasses, WritesAndDemotionsInTheBackgroundClaimNothing) {
  const Span spans[] = {span(Resource::ssd_write, 0, 0, 50), span(Resource::link_d2h, 0, 0, 50)};
  EXPECT_EQ(classify_time(ns(0), ns(0), ns(50), spans)[TimeClass::host], ns(50));
  const Span queued[] = {span(Resource::ssd_write, 0, 40, 50, true), span(Resource::link_d2h, 0, 40, 50, true)};
  EXPECT_EQ(classify_time(ns(0), ns(0), ns(50), queued)[TimeClass::host], ns(50));
}

TEST(TimeClasses, SpansOutsideTheRequestAreCutOff) {
  const Span spans[] = {span(Resource::ssd_prefetch, 0, 5, 500)};
  const TimeBreakdown time = classify_time(ns(10), ns(10), ns(20), spans);
  EXPECT_EQ(time[TimeClass::ssd], ns(10));
}

TEST(TimeClasses, ARequestWithoutSpansIsHostTimeAndOneOfNoLengthIsNothing) {
  const TimeBreakdown idle = classify_time(ns(7), ns(7), ns(9), {});
  EXPECT_EQ(idle[TimeClass::host], ns(2));
  EXPECT_EQ(idle.total(), ns(2));
  const Span spans[] = {span(Resource::gpu_compute, 0, 0, 100)};
  EXPECT_EQ(classify_time(ns(7), ns(7), ns(7), spans).total(), ns(0));
}

TEST(TimeClasses, OperationsThatMeetAtOneInstantLeaveNoGapAndShareNoNanosecond) {
  const Span spans[] = {span(Resource::gpu_compute, 20, 20, 30), span(Resource::ssd_demand, 0, 0, 10),
                        span(Resource::link_h2d_gather, 10, 10, 20)};
  const TimeBreakdown time = classify_time(ns(0), ns(0), ns(30), spans);
  EXPECT_EQ(time[TimeClass::ssd], ns(10));
  EXPECT_EQ(time[TimeClass::link], ns(10));
  EXPECT_EQ(time[TimeClass::gpu_compute], ns(10));
  EXPECT_EQ(time[TimeClass::host], ns(0));
}

// Every class claims what is left by the ones before it: nested spans, each one nanosecond longer at both ends.
TEST(TimeClasses, ClaimTimeInTheirOrder) {
  const Span spans[] = {span(Resource::gpu_compute, 50, 50, 60), span(Resource::scoring, 49, 49, 61),
                        span(Resource::ssd_prefetch, 48, 48, 62), span(Resource::link_h2d_copy, 47, 47, 63),
                        span(Resource::gpu_compute, 46, 64, 64, /*behind_other=*/true)};
  const TimeBreakdown time = classify_time(ns(45), ns(45), ns(65), spans);
  EXPECT_EQ(time[TimeClass::gpu_compute], ns(10));
  EXPECT_EQ(time[TimeClass::scoring], ns(2));
  EXPECT_EQ(time[TimeClass::ssd], ns(2));
  EXPECT_EQ(time[TimeClass::link], ns(2));
  EXPECT_EQ(time[TimeClass::queueing], ns(2));
  EXPECT_EQ(time[TimeClass::host], ns(2));
}

TEST(TimeClasses, PrefetchInServiceIsOwnIoLikeADemandRead) {
  const Span spans[] = {span(Resource::ssd_prefetch, 0, 0, 10), span(Resource::link_h2d_copy, 10, 10, 15)};
  const TimeBreakdown time = classify_time(ns(0), ns(0), ns(20), spans);
  EXPECT_EQ(time[TimeClass::ssd], ns(10));
  EXPECT_EQ(time[TimeClass::link], ns(5));
  EXPECT_EQ(time.identification, ns(0));
}

// Of the union, not of the classes: a key read under computing is no ssd time, yet it is identification.
TEST(TimeClasses, IdentificationCountsKeyReadsThatComputingHides) {
  Span keys = span(Resource::ssd_prefetch, 0, 10, 30);
  keys.operation = Operation::read_keys;
  const Span spans[] = {keys, keys, span(Resource::gpu_compute, 0, 0, 40)};
  const TimeBreakdown time = classify_time(ns(0), ns(0), ns(40), spans);
  EXPECT_EQ(time[TimeClass::ssd], ns(0));
  EXPECT_EQ(time.identification, ns(20));  // 10-30: in service only, and once
}

TEST(TimeClasses, AWholeYearFits) {
  const std::int64_t year = 365ll * 86'400 * 1'000'000'000;
  const Span spans[] = {span(Resource::ssd_demand, year, year, 2 * year - 1)};
  const TimeBreakdown time = classify_time(ns(year), ns(year), ns(2 * year), spans);
  EXPECT_EQ(time[TimeClass::ssd], ns(year - 1));
  EXPECT_EQ(time[TimeClass::host], ns(1));
}

TEST(TimeClasses, RefuseTimesThatRunBackwards) {
  EXPECT_THROW(classify_time(ns(10), ns(10), ns(9), {}), InvariantError);
  EXPECT_THROW(classify_time(ns(10), ns(9), ns(20), {}), InvariantError);
  EXPECT_THROW(classify_time(ns(10), ns(21), ns(20), {}), InvariantError);
  const Span early[] = {span(Resource::ssd_demand, 5, 4, 8)};
  EXPECT_THROW(classify_time(ns(0), ns(0), ns(20), early), InvariantError);
  const Span backwards[] = {span(Resource::link_d2h, 5, 8, 7)};
  EXPECT_THROW(classify_time(ns(0), ns(0), ns(20), backwards), InvariantError);
}

TEST(TimeClasses, DoNotDependOnTheOrderOfSpans) {
  std::mt19937_64 random(11);
  std::vector<Span> spans;
  for (int i = 0; i < 250; ++i) {
    const auto ready = static_cast<std::int64_t>(random() % 1'000'000);
    const std::int64_t start = ready + static_cast<std::int64_t>(random() % 20'000);
    const std::int64_t end = start + static_cast<std::int64_t>(random() % 50'000);
    spans.push_back(span(static_cast<Resource>(random() % kNumResources), ready, start, end, random() % 3 == 0));
  }
  const TimeBreakdown expected = classify_time(ns(3), ns(900), ns(900'000), spans);
  EXPECT_EQ(expected.total(), ns(900'000 - 3));
  for (int round = 0; round < 20; ++round) {
    std::shuffle(spans.begin(), spans.end(), random);
    const TimeBreakdown time = classify_time(ns(3), ns(900), ns(900'000), spans);
    EXPECT_EQ(time.by_class, expected.by_class);
    EXPECT_EQ(time.identification, expected.identification);
  }
}

TEST(TimeClasses, HaveTheNamesThatResultFilesUse) {
  std::vector<std::string> names;
  for (int i = 0; i < kNumTimeClasses; ++i) names.emplace_back(name_of(static_cast<TimeClass>(i)));
  EXPECT_EQ(names, (std::vector<std::string>{"gpu_compute", "scoring", "ssd", "link", "queueing", "host"}));
}

TEST(TimeClasses, EqualAReferenceThatLooksAtEveryNanosecond) {
  std::mt19937 random(3);
  const auto below = [&](int limit) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(limit)); };
  const Resource resources[] = {Resource::gpu_compute, Resource::scoring, Resource::ssd_demand, Resource::link_h2d_copy,
                                Resource::host};
  const TimeClass classes[] = {TimeClass::gpu_compute, TimeClass::scoring, TimeClass::ssd, TimeClass::link,
                               TimeClass::host};
  for (int round = 0; round < 300; ++round) {
    std::vector<Span> spans;
    for (int i = 0; i < 6; ++i) {
      const std::int64_t ready = below(80), start = ready + below(10), end = start + below(20);
      spans.push_back(span(resources[below(5)], ready, start, end, below(3) == 0));
    }
    const std::int64_t arrival = below(20), admission = arrival + below(10), last = admission + 1 + below(90);
    TimeBreakdown expected;
    for (std::int64_t t = arrival; t < last; ++t) {
      TimeClass found = t < admission ? TimeClass::queueing : TimeClass::host;
      for (const Span& s : spans) {
        TimeClass service = TimeClass::host;
        for (int i = 0; i < 5; ++i) {
          if (resources[i] == s.resource) service = classes[i];
        }
        if (s.start.value <= t && t < s.end.value) found = std::min(found, service);
        if (s.ready.value <= t && t < s.start.value) {
          if (s.queued_behind_other) {
            found = std::min(found, TimeClass::queueing);
          } else if (service == TimeClass::ssd || service == TimeClass::link) {
            found = std::min(found, service);
          }
        }
      }
      expected[found] += ns(1);
    }
    const TimeBreakdown time = classify_time(ns(arrival), ns(admission), ns(last), spans);
    for (int i = 0; i < kNumTimeClasses; ++i)
      EXPECT_EQ(time.by_class[static_cast<std::size_t>(i)], expected.by_class[static_cast<std::size_t>(i)]);
  }
}

}  // namespace
}  // namespace reprefill::record
