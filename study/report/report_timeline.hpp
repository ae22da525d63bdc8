// Time lines for a report: chosen points are simulated again, which gives the same row, and their spans kept.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/record/span.hpp"
#include "sim/scenario/scenario.hpp"
#include "study/report/result_set.hpp"

namespace reprefill::study {

/// How much of a point a report holds: a page with every read of 200 requests helps nobody.
struct TimelineLimits {
  std::uint32_t num_requests = 2;  // the first measured ones
  std::size_t num_spans = 20'000;  // per point
};

/// Points worth a look where nobody chose: the fastest of each system on each software path.
std::vector<std::size_t> fastest_points(const ResultSet& result, std::size_t most);

/// Spans as columns, in nanoseconds from the first one's start:
///   {"lanes": ["gpu_compute", "ssd_demand #1"], "names": [...], "lane": [...], "name": [...], "start_ns": [...],
///    "length_ns": [...], "wait_ns": [...], "request": [...], "layer": [...], "bytes": [...], "left_out": 0}
Json timeline_columns(std::span<const record::Span> spans, const TimelineLimits& limits);

/// Simulates the points (numbers as in the rows) of a finished or partial sweep anew.
/// Throws ConfigError where a point is not there, or its inputs are no longer those of its row.
Json simulate_timelines(const ResultSet& result, const std::vector<std::size_t>& points,
                        const sim::ScenarioContext& context, const TimelineLimits& limits);

}  // namespace reprefill::study
