// What a session's requests kept devices busy with: the same sums of an engine's spans and of the simulator's.
#pragma once

#include <span>

#include "core/base/json.hpp"
#include "core/record/span.hpp"

namespace reprefill::calibrate {

/// Time in which a device had something of these requests under way, overlaps counted once, and the bytes it moved.
/// The GPU's is that of projections, attention and scores: choices and tokens come with the host's wake-ups.
struct SessionWork {
  double gpu_ns = 0, ssd_ns = 0, link_ns = 0;
  double ssd_bytes = 0, link_bytes = 0;
  SessionWork& operator+=(const SessionWork& other);
};
SessionWork work_of(std::span<const record::Span> spans);

Json to_json(const SessionWork& work);
SessionWork session_work_from_json(const Json& json);

}  // namespace reprefill::calibrate
