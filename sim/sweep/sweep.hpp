// Runs the points of a scenario on all cores and keeps their rows.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "core/record/result_folder.hpp"
#include "sim/simulation/run_point.hpp"

namespace reprefill::sim {

struct SweepOptions {
  std::size_t jobs = 1;
  std::optional<std::size_t> timeline_point;  // writes timeline.json of this point
  bool quiet = false;
  bool strict = false;  // ConfigError for a point with operations outside what the profile measured
};

struct SweepSummary {
  std::vector<Json> rows;  // in point order
  std::size_t num_resumed = 0;
  std::uint64_t num_events = 0;
  double wall_s = 0;
  double virtual_s = 0;
};

/// A relative estimate of a point's wall time: longest first balances the cores.
double estimated_cost(const Point& point, const SharedInputs& inputs);

/// Rows go to `folder` as they are done; throws Interrupted on request, with finished rows kept.
SweepSummary run_sweep(const Scenario& scenario, SharedInputs& inputs, record::ResultFolder& folder,
                       const SweepOptions& options, const std::atomic<bool>& interrupted);

}  // namespace reprefill::sim
