// Random time lines over every resource, against semantics 6 written down for one nanosecond at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/base/random.hpp"
#include "tests/core/record/time_classes/spans.hpp"

namespace reprefill::record {
namespace {

struct Request {
  std::int64_t arrival, admission, first_token;
  std::vector<Span> spans;
};

bool computes(const Span& span) { return span.resource == Resource::gpu_compute; }
bool scores(const Span& span) { return span.resource == Resource::scoring; }
bool reads(const Span& span) {
  return span.resource == Resource::ssd_demand || span.resource == Resource::ssd_prefetch;
}
bool copies(const Span& span) {
  return span.resource == Resource::link_h2d_copy || span.resource == Resource::link_h2d_gather;
}
bool is_background(const Span& span) {
  return span.resource == Resource::ssd_write || span.resource == Resource::link_d2h;
}

TimeClass class_at(const Request& request, std::int64_t t) {
  const auto in_service = [t](const Span& s) { return s.start.value <= t && t < s.end.value; };
  const auto queued = [t](const Span& s) { return s.ready.value <= t && t < s.start.value; };
  const auto any = [&](auto rule) { return std::any_of(request.spans.begin(), request.spans.end(), rule); };
  const auto own_io = [&](const Span& s) { return in_service(s) || (queued(s) && !s.queued_behind_other); };
  if (any([&](const Span& s) { return computes(s) && in_service(s); })) return TimeClass::gpu_compute;
  if (any([&](const Span& s) { return scores(s) && in_service(s); })) return TimeClass::scoring;
  if (any([&](const Span& s) { return reads(s) && own_io(s); })) return TimeClass::ssd;
  if (any([&](const Span& s) { return copies(s) && own_io(s); })) return TimeClass::link;
  if (t < request.admission) return TimeClass::queueing;
  if (any([&](const Span& s) { return queued(s) && s.queued_behind_other && !is_background(s); })) {
    return TimeClass::queueing;
  }
  return TimeClass::host;
}

bool identifies_at(const Request& request, std::int64_t t) {
  return std::any_of(request.spans.begin(), request.spans.end(), [t](const Span& s) {
    return (scores(s) || s.operation == Operation::read_keys) && s.start.value <= t && t < s.end.value;
  });
}

Request random_request(RandomStream& random) {
  const auto below = [&](std::uint64_t limit) { return static_cast<std::int64_t>(random.below(limit)); };
  Request request;
  request.arrival = below(40);
  request.admission = request.arrival + below(2) * below(60);
  request.first_token = request.admission + below(200);
  for (std::int64_t i = below(12); i > 0; --i) {
    const std::int64_t ready = below(200), start = ready + below(2) * below(30), end = start + below(40);
    const auto resource = static_cast<Resource>(random.below(kNumResources));
    Span span = own(resource, {ready, start, end});
    const bool read = resource == Resource::ssd_demand || resource == Resource::ssd_prefetch;
    if (read) span.operation = random.below(2) == 0 ? Operation::read_keys : Operation::read;
    span.queued_behind_other = random.below(3) == 0;
    request.spans.push_back(span);
  }
  return request;
}

TEST(TimeClassProperty, EveryNanosecondIsChargedOnceToTheFirstClassThatApplies) {
  RandomStream random(6, 0, "time classes");
  for (int round = 0; round < 3000; ++round) {
    const Request request = random_request(random);
    TimeBreakdown expected;
    for (std::int64_t t = request.arrival; t < request.first_token; ++t) {
      expected[class_at(request, t)] += ns(1);
      if (identifies_at(request, t)) expected.identification += ns(1);
    }
    const TimeBreakdown found =
        classify_time(ns(request.arrival), ns(request.admission), ns(request.first_token), request.spans);
    ASSERT_EQ(shares_of(found), shares_of(expected)) << "round " << round;
    ASSERT_EQ(found.identification, expected.identification) << "round " << round;
    ASSERT_EQ(found.total(), ns(request.first_token - request.arrival));
  }
}

TEST(TimeClassProperty, ShiftingAllTimesChangesNothing) {
  RandomStream random(7, 0, "time classes");
  for (int round = 0; round < 300; ++round) {
    Request request = random_request(random);
    const auto classify = [&] {
      return classify_time(ns(request.arrival), ns(request.admission), ns(request.first_token), request.spans);
    };
    const TimeBreakdown here = classify();
    constexpr std::int64_t kLater = 1'000'000'000'000'000;
    for (std::int64_t* time : {&request.arrival, &request.admission, &request.first_token}) *time += kLater;
    for (Span& span : request.spans) {
      for (Nanoseconds* time : {&span.ready, &span.start, &span.end}) *time += ns(kLater);
    }
    ASSERT_EQ(shares_of(classify()), shares_of(here));
  }
}

}  // namespace
}  // namespace reprefill::record
