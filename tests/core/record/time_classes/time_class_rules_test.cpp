// One hand-worked time line for each rule of semantics 6. Times in ns; the request arrives at 0 and is admitted at once
// unless a test says otherwise.
#include <gtest/gtest.h>

#include <vector>

#include "core/base/error.hpp"
#include "tests/core/record/time_classes/spans.hpp"

namespace reprefill::record {
namespace {

TimeBreakdown classify(std::int64_t first_token, const std::vector<Span>& spans) {
  return classify_time(ns(0), ns(0), ns(first_token), spans);
}
Shares shares(std::int64_t first_token, const std::vector<Span>& spans) {
  return shares_of(classify(first_token, spans));
}

TEST(TimeClassRules, WithoutAnyOperationAllTimeIsTheHosts) { EXPECT_EQ(shares(100, {}), (Shares{.host = 100})); }

TEST(TimeClassRules, AFirstTokenAtArrivalLeavesNothingToCharge) {
  EXPECT_EQ(shares(0, {own(Resource::gpu_compute, {0, 0, 50})}), Shares{});
}

// ---- rule 1: own operation computing ----

TEST(TimeClassRules, ComputingWinsOverEverythingAtTheSameTime) {
  //  compute       [20      60]
  //  scoring  [0       40]
  //  ssd      [0                80]
  //  link             [30             90]
  EXPECT_EQ(shares(100, {own(Resource::gpu_compute, {20, 20, 60}), own(Resource::scoring, {0, 0, 40}),
                         own(Resource::ssd_demand, {0, 0, 80}), own(Resource::link_h2d_copy, {30, 30, 90})}),
            (Shares{.gpu_compute = 40, .scoring = 20, .ssd = 20, .link = 10, .host = 10}));
}

TEST(TimeClassRules, ComputingWinsOverQueueing) {
  EXPECT_EQ(shares(50, {own(Resource::gpu_compute, {0, 0, 30}), behind_other(Resource::ssd_demand, {10, 40, 50})}),
            (Shares{.gpu_compute = 30, .ssd = 10, .queueing = 10}));
}

TEST(TimeClassRules, AGpuThatWaitsForItsOwnEarlierWorkIsComputing) {
  EXPECT_EQ(shares(30, {own(Resource::gpu_compute, {0, 0, 20}), own(Resource::gpu_compute, {0, 20, 30})}),
            (Shares{.gpu_compute = 30}));
}

// ---- rule 2: own reads and copies ----

TEST(TimeClassRules, ReadsOfBothPrioritiesAreSsdAndBothTransportsAreLink) {
  EXPECT_EQ(shares(40, {own(Resource::ssd_demand, {0, 0, 10}), own(Resource::ssd_prefetch, {10, 10, 20}),
                        own(Resource::link_h2d_copy, {20, 20, 30}), own(Resource::link_h2d_gather, {30, 30, 40})}),
            (Shares{.ssd = 20, .link = 20}));
}

TEST(TimeClassRules, AReadIsChargedFromTheDevicesStartAndWhileItQueuesBehindOwnReadsOnly) {
  // The first read holds the device until 30; the second, ready at 5, follows.
  EXPECT_EQ(shares(50, {own(Resource::ssd_demand, {0, 0, 30}), own(Resource::ssd_demand, {5, 30, 50})}),
            (Shares{.ssd = 50}));
  // Alone, but started late: the queue before it is its own.
  EXPECT_EQ(shares(50, {own(Resource::ssd_demand, {10, 30, 50})}), (Shares{.ssd = 40, .host = 10}));
}

TEST(TimeClassRules, TheSsdWinsOverTheLink) {
  EXPECT_EQ(shares(30, {own(Resource::link_h2d_copy, {0, 0, 20}), own(Resource::ssd_demand, {10, 10, 30})}),
            (Shares{.ssd = 20, .link = 10}));
}

TEST(TimeClassRules, ACopyThatWaitsForItsReadIsNotReadyAndClaimsNothing) {
  // Issued at 0, ready when the read is done at 40.
  Span copy = own(Resource::link_h2d_gather, {40, 45, 60});
  copy.issued = ns(0);
  EXPECT_EQ(shares(60, {own(Resource::ssd_demand, {0, 0, 40}), copy}), (Shares{.ssd = 40, .link = 20}));
}

// ---- rule 3: queueing ----

TEST(TimeClassRules, WaitingForAdmissionIsQueueing) {
  EXPECT_EQ(shares_of(classify_time(ns(100), ns(130), ns(150), {})), (Shares{.queueing = 30, .host = 20}));
}

TEST(TimeClassRules, WhatRunsBeforeAdmissionStillWins) {
  const Span early[] = {own(Resource::ssd_prefetch, {110, 110, 120})};
  EXPECT_EQ(shares_of(classify_time(ns(100), ns(130), ns(150), early)),
            (Shares{.ssd = 10, .queueing = 20, .host = 20}));
}

TEST(TimeClassRules, ARequestThatEndsAsItIsAdmittedOnlyQueued) {
  EXPECT_EQ(shares_of(classify_time(ns(0), ns(70), ns(70), {})), (Shares{.queueing = 70}));
}

TEST(TimeClassRules, TimesThatRunBackwardsAreABrokenInvariant) {
  EXPECT_THROW(classify_time(ns(10), ns(5), ns(70), {}), InvariantError);
  EXPECT_THROW(classify_time(ns(0), ns(71), ns(70), {}), InvariantError);
  EXPECT_THROW(classify(70, {own(Resource::ssd_demand, {10, 5, 20})}), InvariantError);
  EXPECT_THROW(classify(70, {own(Resource::ssd_demand, {10, 20, 15})}), InvariantError);
}

TEST(TimeClassRules, WaitingBehindAnotherRequestIsQueueingOnEveryDevice) {
  for (const Resource resource :
       {Resource::ssd_demand, Resource::ssd_prefetch, Resource::link_h2d_copy, Resource::link_h2d_gather,
        Resource::gpu_compute, Resource::scoring, Resource::host}) {
    const Shares found = shares(30, {behind_other(resource, {0, 20, 30})});
    EXPECT_EQ(found.queueing, 20) << name_of(resource);
    EXPECT_EQ(found.gpu_compute + found.scoring + found.ssd + found.link + found.host, 10) << name_of(resource);
  }
}

TEST(TimeClassRules, OwnServiceElsewhereWinsOverQueueing) {
  // Queued behind another's compute from 0 to 30, while an own read runs from 10 to 20.
  EXPECT_EQ(shares(40, {behind_other(Resource::gpu_compute, {0, 30, 40}), own(Resource::ssd_demand, {10, 10, 20})}),
            (Shares{.gpu_compute = 10, .ssd = 10, .queueing = 20}));
}

TEST(TimeClassRules, AnOperationBehindAnotherRequestThatStartsAtOnceHasNotQueued) {
  EXPECT_EQ(shares(10, {behind_other(Resource::gpu_compute, {0, 0, 10})}), (Shares{.gpu_compute = 10}));
}

// ---- rule 4: the rest ----

TEST(TimeClassRules, HostWorkAndGapsAreTheHosts) {
  EXPECT_EQ(shares(50, {own(Resource::host, {0, 0, 20}), own(Resource::gpu_compute, {30, 30, 40})}),
            (Shares{.gpu_compute = 10, .host = 40}));
}

TEST(TimeClassRules, HostWorkIsHiddenByAnyOwnDevice) {
  EXPECT_EQ(shares(30, {own(Resource::host, {0, 0, 30}), own(Resource::link_h2d_copy, {10, 10, 20})}),
            (Shares{.link = 10, .host = 20}));
}

TEST(TimeClassRules, BackgroundWritesAndDemotionsClaimNothingEvenWhileTheyQueue) {
  for (const Resource resource : {Resource::ssd_write, Resource::link_d2h}) {
    EXPECT_EQ(shares(50, {own(resource, {0, 10, 50})}), (Shares{.host = 50})) << name_of(resource);
    EXPECT_EQ(shares(50, {behind_other(resource, {0, 40, 50})}), (Shares{.host = 50})) << name_of(resource);
  }
}

// ---- borders ----

TEST(TimeClassRules, WhatLiesBeforeArrivalOrAfterTheFirstTokenIsCutOff) {
  const Span spans[] = {own(Resource::ssd_prefetch, {0, 0, 110}), own(Resource::gpu_compute, {115, 118, 500})};
  EXPECT_EQ(shares_of(classify_time(ns(100), ns(100), ns(120), spans)),
            (Shares{.gpu_compute = 2, .ssd = 10, .host = 8}));
}

TEST(TimeClassRules, SpansThatTouchLeaveNoGapAndCountNoNanosecondTwice) {
  std::vector<Span> spans;
  for (std::int64_t t = 0; t < 100; ++t) spans.push_back(own(Resource::ssd_demand, {t, t, t + 1}));
  EXPECT_EQ(shares(100, spans), (Shares{.ssd = 100}));
}

TEST(TimeClassRules, SpansOfNoTimeChangeNothing) {
  EXPECT_EQ(shares(10, {own(Resource::gpu_compute, {5, 5, 5}), own(Resource::ssd_demand, {0, 0, 0})}),
            (Shares{.host = 10}));
}

TEST(TimeClassRules, TheOrderOfTheListDoesNotMatter) {
  std::vector<Span> spans = {own(Resource::gpu_compute, {20, 20, 60}), own(Resource::scoring, {0, 0, 40}),
                             own(Resource::ssd_demand, {0, 0, 80}),
                             behind_other(Resource::link_h2d_copy, {30, 85, 90})};
  const Shares forward = shares(100, spans);
  EXPECT_EQ(shares(100, {spans.rbegin(), spans.rend()}), forward);
}

TEST(TimeClassRules, HoursAreExact) {
  constexpr std::int64_t kHour = 3'600'000'000'000;
  EXPECT_EQ(shares(24 * kHour + 1, {own(Resource::gpu_compute, {1, 1, 24 * kHour})}),
            (Shares{.gpu_compute = 24 * kHour - 1, .host = 2}));
}

// ---- identification: scoring and key reads, reported apart ----

TEST(TimeClassRules, IdentificationIsTheUnionOfScoringAndKeyReadsWhateverTheyAreChargedTo) {
  //  keys     [0     30]                      ssd
  //  compute      [20     50]                 hides the end of the key read, which still is identification
  //  scoring                 [60  80]
  //  payload                      [70   90]   no identification
  const TimeBreakdown time = classify(100, {own(Resource::ssd_demand, {0, 0, 30}, Operation::read_keys),
                                            own(Resource::gpu_compute, {20, 20, 50}, Operation::attend),
                                            own(Resource::scoring, {60, 60, 80}, Operation::score),
                                            own(Resource::ssd_demand, {70, 70, 90}, Operation::read)});
  EXPECT_EQ(shares_of(time), (Shares{.gpu_compute = 30, .scoring = 20, .ssd = 30, .host = 20}));
  EXPECT_EQ(time.identification, ns(50));
}

TEST(TimeClassRules, OverlappingIdentificationIsCountedOnce) {
  const TimeBreakdown time = classify(40, {own(Resource::ssd_demand, {0, 0, 30}, Operation::read_keys),
                                           own(Resource::ssd_demand, {10, 10, 40}, Operation::read_keys),
                                           own(Resource::scoring, {20, 20, 35}, Operation::select)});
  EXPECT_EQ(time.identification, ns(40));
}

TEST(TimeClassRules, QueueingForKeysIsNotIdentificationYet) {
  const TimeBreakdown time = classify(30, {own(Resource::ssd_demand, {0, 20, 30}, Operation::read_keys)});
  EXPECT_EQ(time.identification, ns(10));
  EXPECT_EQ(time[TimeClass::ssd], ns(30));
}

TEST(TimeClassRules, ClassesHaveTheNamesOfTheRows) {
  const char* const names[] = {"gpu_compute", "scoring", "ssd", "link", "queueing", "host"};
  for (int i = 0; i < kNumTimeClasses; ++i) EXPECT_STREQ(name_of(static_cast<TimeClass>(i)), names[i]);
}

}  // namespace
}  // namespace reprefill::record
