// Requests over a tree of segments that share leading tokens, some of which append new ones, and machines to run them
// on: more than the fixed prefixes of tests/sim/machines.
#pragma once

#include <deque>

#include "core/record/time_classes.hpp"
#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill::test_support {

using pipeline::PathKind;
using pipeline::Request;
using pipeline::RequestAccount;

/// Tokens of segments 0, 1, ...: a root that prefixes share, two branches, one prefix of its own, and a short one.
inline constexpr std::uint32_t kSegmentTokens[] = {256, 384, 320, 640, 64};
inline constexpr std::uint32_t kFirstAppended = 8;  // segment 8 + i is what request i appended
inline constexpr std::uint32_t kAppendedTokens = 64;

inline std::uint32_t mixed_segment_tokens(SegmentId segment) {
  return segment.value >= kFirstAppended ? kAppendedTokens : kSegmentTokens[segment.value];
}

/// Every third request appends; the second one after it finds what it appended behind the same prefix.
inline bool appends(std::uint32_t number) { return number % 3 == 1; }

inline std::vector<SegmentSpan> mixed_prefix(std::uint32_t number) {
  const auto whole = [](std::uint32_t segment) {
    return SegmentSpan{SegmentId{segment}, mixed_segment_tokens(SegmentId{segment})};
  };
  if (number >= 2 && appends(number - 2)) {
    std::vector<SegmentSpan> prefix = mixed_prefix(number - 2);
    prefix.push_back(whole(kFirstAppended + number - 2));
    return prefix;
  }
  switch (mix64(number) % 6) {
    case 0:
      return {whole(0), whole(1)};
    case 1:
      return {whole(0), whole(2), whole(4)};
    case 2:
      return {whole(3)};
    case 3:
      return {SegmentSpan{SegmentId{0}, 128}};  // leaves the root half-way
    case 4:
      return {};  // nothing stored
    default:
      return {whole(0), SegmentSpan{SegmentId{1}, 64}};
  }
}

inline constexpr std::uint32_t kLongestPrefix = 704;  // segments 0, 2, 4 and an appended one

/// As a run hands it to the system.
inline Request mixed_request(const pipeline::System& system, std::uint32_t number) {
  Request request;
  request.id = number;
  request.importance_id = number;
  request.task = mix64(number) % 6;
  const std::vector<SegmentSpan> prefix = mixed_prefix(number);
  const auto prefix_tokens = static_cast<std::uint32_t>(traces::total_tokens(prefix));
  const std::uint32_t own_tokens = appends(number) ? kAppendedTokens + number % 5 : 1 + number * 13 % 70;
  request.prompt_tokens = prefix_tokens + own_tokens;
  request.own_tokens = system.reuses_prefix() ? own_tokens : request.prompt_tokens;
  if (system.reuses_prefix()) {
    request.stored_tokens = prefix_tokens;
    request.stored_prefix = prefix;
  }
  if (appends(number) && system.store_layout() != nullptr) {
    request.append = pipeline::AppendPlan{.segment = SegmentId{kFirstAppended + number}, .num_tokens = kAppendedTokens};
  }
  return request;
}

/// A bench whose segments are those above.
class MixedBench : public Bench {
 public:
  MixedBench(const Variant& variant, PathKind path, int max_in_flight = 1)
      : Bench(variant, path, max_in_flight, ForeseesByItself{}) {
    environment.segment_tokens = mixed_segment_tokens;
    if (!system->foresees()) return;
    for (std::uint32_t i = 0; i < 12; ++i) system->foresee(mixed_request(*system, i));
  }
};

/// Times of one request of a run on the simulated machine.
struct Served {
  Request request;
  pipeline::Task task;
  Nanoseconds admission{0};
  Nanoseconds first_token{0};
  bool finished = false;
};

/// Runs requests in order, at most as many at a time as the environment says. False: a deadlock.
inline bool serve_all(Bench& bench, SimulatedBench& machine, std::deque<Served>& requests) {
  std::size_t next = 0, num_finished = 0;
  int num_active = 0;
  while (num_finished < requests.size()) {
    for (; num_active < bench.environment.max_in_flight && next < requests.size(); ++next, ++num_active) {
      Served& served = requests[next];
      served.admission = machine.simulation.now();
      served.task = bench.system->serve(machine.machine, served.request);
      served.task.start();
    }
    machine.machine.resume_ready();
    bool any = false;
    for (std::size_t i = 0; i < next; ++i) {
      Served& served = requests[i];
      if (served.finished || !served.task.done()) continue;
      served.task.check();
      served.finished = any = true;
      served.first_token = machine.simulation.now();
      ++num_finished;
      --num_active;
    }
    if (!any && num_finished < requests.size() && !machine.simulation.step()) return false;
  }
  return true;
}

}  // namespace reprefill::test_support
