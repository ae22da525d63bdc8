// The simulator as a session: the very requests that the engine served, on the simulated machine.
#pragma once

#include "core/pipeline/system.hpp"
#include "sim/devices/profile.hpp"
#include "study/compare/machine_run.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::study {

struct SimulatedSessionOptions {
  std::string system;
  Json system_params;  // resolved
  pipeline::SoftwarePath path;
  ModelGeometry geometry;
  std::function<std::uint32_t(SegmentId)> segment_tokens;
  /// Of a reordered store: where the engine read them. Null: tokens lie in their own order.
  std::function<std::span<const std::uint32_t>(SegmentId, int layer_idx)> token_places = nullptr;
  std::uint32_t store_block_tokens = 64;
  int max_in_flight = 1;
  const traces::ImportanceSource* importance = nullptr;
  bool uncertain = false;  // durations drawn from the profile's residuals: one replica of the prediction's range
  std::uint64_t seed = 1;
  std::uint64_t replica = 0;
};

/// Serves all requests in order, `max_in_flight` at a time, each admitted as one before it ends. The first `num_warmup`
/// are not among the measured.
MachineRun simulate_requests(const SimulatedSessionOptions& options, const sim::Profile& profile,
                             std::span<const pipeline::Request> requests, std::size_t num_warmup);

}  // namespace reprefill::study
