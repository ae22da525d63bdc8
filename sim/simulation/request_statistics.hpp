// What the measured requests of a run add up to.
#pragma once

#include <vector>

#include "core/pipeline/request.hpp"
#include "core/record/time_classes.hpp"

namespace reprefill::sim {

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
  double recall_sum = 0;
  std::uint64_t recall_selections = 0;
  std::uint64_t mass_requests = 0;
  std::uint64_t waiting_at_last_arrival = 0;

  /// "STABLE" or "BACKLOGGED" (semantics 7).
  const char* verdict() const;
};

}  // namespace reprefill::sim
