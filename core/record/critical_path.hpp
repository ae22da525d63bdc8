// What a request waited for, from its first token back to its arrival: the chain of operations that set its TTFT.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/record/span.hpp"

namespace reprefill::record {

struct PathStep {
  enum class Kind : std::uint8_t {
    admission,     // the request waited to be admitted
    operation,     // the device served `span`
    queued_own,    // `span` was ready, the device was busy with the request's own operations
    queued_other,  // `span` was ready, another request's operation held the device
    gap            // nothing of this request ran: it waited for another request, or for the host's driver
  };
  Kind kind = Kind::gap;
  Nanoseconds from{0};
  Nanoseconds to{0};
  std::size_t span = 0;  // for operation and queued_*: index into the spans

  Nanoseconds duration() const { return to - from; }
};
const char* name_of(PathStep::Kind kind);

/// Steps in order of time. They tile [arrival, first_token]: none overlaps, none is missing, their durations sum to the
/// TTFT. Where an operation became ready the moment another ended, that other one comes before it; of several that
/// ended at that moment the one that a request waits for, then the one of the nearest layer.
std::vector<PathStep> critical_path(Nanoseconds arrival, Nanoseconds admission, Nanoseconds first_token,
                                    std::span<const Span> spans);

/// Writes and demotions: no request waits for them.
bool is_background(const Span& span);

}  // namespace reprefill::record
