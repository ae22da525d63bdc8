// Runs the points of a scenario and keeps their rows.
#pragma once

#include <atomic>
#include <optional>

#include "core/record/result_folder.hpp"
#include "sim/simulation/run_point.hpp"
#include "sim/sweep/distributor.hpp"
#include "sim/sweep/shard.hpp"

namespace reprefill::sim {

struct SweepOptions {
  std::optional<std::size_t> timeline_point;  // writes timeline.json of this point; not across processes
  Shard shard;
  bool quiet = false;
  bool strict = false;  // ConfigError for a point with operations outside what the profile measured
};

struct SweepSummary {
  std::vector<Json> rows;  // in point order; of a shard only its own
  std::size_t num_resumed = 0;
  std::uint64_t num_events = 0;
  double wall_s = 0;
  double virtual_s = 0;
};

/// resolved.json: everything that decides the rows.
Json resolved_inputs(const Scenario& scenario, SharedInputs& inputs, const Shard& shard);

/// Rows go to `folder` as they are done; throws Interrupted on request, with finished rows kept. `folder` is null where
/// the distributor does not keep results: then nothing is returned. A shard's folder gets no result files:
/// `read_shards` joins them.
SweepSummary run_sweep(const Scenario& scenario, SharedInputs& inputs, record::ResultFolder* folder,
                       const SweepOptions& options, Distributor& distributor, const std::atomic<bool>& interrupted);

}  // namespace reprefill::sim
