// Where a request's TTFT went: every nanosecond is charged once (semantics 6). One function over spans, for every
// machine.
#pragma once

#include <array>
#include <span>

#include "core/record/span.hpp"

namespace reprefill::record {

/// In the order in which they claim time.
enum class TimeClass : std::uint8_t { gpu_compute, scoring, ssd, link, queueing, host };
inline constexpr int kNumTimeClasses = 6;
const char* name_of(TimeClass time_class);

struct TimeBreakdown {
  std::array<Nanoseconds, kNumTimeClasses> by_class{};
  Nanoseconds identification{0};  // scoring and reads of keys, their union; not a class of its own

  Nanoseconds operator[](TimeClass time_class) const { return by_class[static_cast<std::size_t>(time_class)]; }
  Nanoseconds& operator[](TimeClass time_class) { return by_class[static_cast<std::size_t>(time_class)]; }
  Nanoseconds total() const;
};

/// The class with the largest share; of equal ones the first.
TimeClass bottleneck(const TimeBreakdown& time);

/// The spans of one request between its arrival, its admission and its first token. Charged to the first that applies:
/// own computing (gpu_compute, or scoring); own read or copy in service, or queued only behind own ones (ssd, link);
/// waiting for admission, or ready but queued behind another request's operation (queueing); else host.
TimeBreakdown classify_time(Nanoseconds arrival, Nanoseconds admission, Nanoseconds first_token,
                            std::span<const Span> spans);

}  // namespace reprefill::record
