// Spans in a few words, for time lines that are worked out by hand.
#pragma once

#include <ostream>

#include "core/record/time_classes.hpp"

namespace reprefill::record {

constexpr Nanoseconds ns(std::int64_t value) { return Nanoseconds{value}; }

struct At {
  std::int64_t ready, start, end;
};

inline Span own(Resource resource, At at, Operation operation = Operation::copy) {
  return {.operation = operation,
          .resource = resource,
          .issued = ns(at.ready),
          .ready = ns(at.ready),
          .start = ns(at.start),
          .end = ns(at.end)};
}
/// Another request's operation held the device between ready and start.
inline Span behind_other(Resource resource, At at, Operation operation = Operation::copy) {
  Span span = own(resource, at, operation);
  span.queued_behind_other = true;
  return span;
}

/// What a time line should come to, in the order of TimeClass.
struct Shares {
  std::int64_t gpu_compute = 0, scoring = 0, ssd = 0, link = 0, queueing = 0, host = 0;
  bool operator==(const Shares&) const = default;
};
inline Shares shares_of(const TimeBreakdown& time) {
  return {time[TimeClass::gpu_compute].value, time[TimeClass::scoring].value,  time[TimeClass::ssd].value,
          time[TimeClass::link].value,        time[TimeClass::queueing].value, time[TimeClass::host].value};
}
inline void PrintTo(const Shares& shares, std::ostream* out) {
  *out << "gpu_compute " << shares.gpu_compute << ", scoring " << shares.scoring << ", ssd " << shares.ssd << ", link "
       << shares.link << ", queueing " << shares.queueing << ", host " << shares.host;
}

}  // namespace reprefill::record
