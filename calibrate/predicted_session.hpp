// A driver cell's session in the simulator: what the profile says of requests that it was not fitted on.
#pragma once

#include "calibrate/meter/measurement.hpp"
#include "calibrate/session/session_work.hpp"
#include "core/model/geometry.hpp"
#include "core/record/time_classes.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::calibrate {

struct PredictedSession {
  double ttft_ns = 0;  // mean of its requests
  SessionWork work;    // of all of them
  record::TimeBreakdown time;
};

/// The requests of one turn of the cell, warm-up left out. What they choose is drawn: random KV has no importance of
/// its own, and how much is chosen is the cell's budget.
PredictedSession predict_session(const Json& shape, const ModelGeometry& geometry, const sim::Profile& profile);

}  // namespace reprefill::calibrate
