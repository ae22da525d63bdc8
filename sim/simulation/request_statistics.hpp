// What the measured requests of a run add up to.
#pragma once

#include <vector>

#include "core/pipeline/request.hpp"
#include "core/record/time_classes.hpp"

namespace reprefill::sim {

/// Busy time of a resource: the union of its operations' service.
class BusyTime {
 public:
  void add(Nanoseconds start, Nanoseconds end) { pending_.push_back({start.value, end.value}); }
  /// Books what has been added so far. Service that began before what is booked already counts from there on.
  void settle();
  Nanoseconds total() const { return total_; }

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> pending_;
  std::int64_t covered_until_ = 0;
  Nanoseconds total_{0};
};

struct MeasuredRequest {
  Nanoseconds arrival{0};
  Nanoseconds admission{0};
  Nanoseconds first_token{0};
};

struct RequestStatistics {
  std::vector<MeasuredRequest> requests;
  pipeline::RequestAccount account;
  record::TimeBreakdown time;
  std::uint64_t stored_tokens = 0;
  std::uint64_t hit_trace_tokens = 0;
  std::uint64_t prompt_tokens = 0;
  double mass_sum = 0;
  double mass_worst_sum = 0;
  std::uint64_t mass_requests = 0;
  std::uint64_t waiting_at_last_arrival = 0;

  /// "STABLE" or "BACKLOGGED" (semantics 7).
  const char* verdict() const;
};

}  // namespace reprefill::sim
