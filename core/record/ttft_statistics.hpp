// TTFT statistics under the names of `vllm bench serve`.
#pragma once

#include <vector>

#include "core/base/json.hpp"
#include "core/base/units.hpp"

namespace reprefill::record {

/// The value at rank ceil(p / 100 * n) of the ascending values; n >= 1, 0 < p <= 100.
double nearest_rank(const std::vector<double>& ascending, double percentile);

struct TtftOptions {
  int requests_in_flight = 1;
  bool noise = false;
  bool open_arrivals = false;  // requests queue: P95 is far from the mean
};

/// mean, median, std, p90, p95, p99, min, max and the deciles (10 to 90 %) in ms. P99 is null below 1,000 requests;
/// with one request in flight and no noise P90 (the last decile too), P95 and P99 are null, and p95_note says why
/// (semantics 9).
Json ttft_statistics(std::vector<double> ttft_ms, const TtftOptions& options);

}  // namespace reprefill::record
