// How far a prediction may be off: replicas of one point whose durations are drawn from the profile's residuals.
#pragma once

#include "sim/simulation/run_point.hpp"

namespace reprefill::sim {

/// {"level": 0.9, "replicas": N, "common_mode": true, "mean_ttft_ms": {"low", "high"}, "median_ttft_ms": {...}}:
/// nearest-rank quantiles over `point.range_replicas` runs of the same requests. In each, every operation is off by its
/// own draw (run to run) and every device by one more: of the profile's common mode or, where it has none
/// ("common_mode": false), of its residuals again. Null where the point asks for none or the profile has no residuals.
Json prediction_range(const Point& point, SharedInputs& inputs, const RunOptions& options);

}  // namespace reprefill::sim
