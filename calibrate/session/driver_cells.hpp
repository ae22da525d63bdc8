// What the engine's driver thread costs, by serving requests as a session does: every term that a cell of one operation
// cannot see.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "calibrate/meter/measurement.hpp"
#include "engine/session/session.hpp"

namespace reprefill::calibrate {

/// Prefixes of random KV under the model's own fingerprint, for sessions to read: what tokens say changes no duration.
engine::Store write_probe_store(const engine::Model& model, const std::filesystem::path& folder,
                                std::uint32_t prefix_tokens);
/// As many as a probe's prompt may have: at most 2,048, in whole store blocks.
std::uint32_t probe_prefix_tokens(const ModelGeometry& geometry);

struct DriverParts {
  engine::Model* model = nullptr;  // null, as the store: for a plan
  const engine::Store* store = nullptr;
  bool unregistered_buffers = false;
};

/// How a probe's session is set up: parameters of the system of a driver cell's shape.
Json probe_params(const Json& shape, const ModelGeometry& geometry);
inline constexpr std::uint32_t kProbePrefixes = 2, kProbeSuffixTokens = 32;

///   driver   {model, system, budget}   busy_ns, operations, pieces: of a request, mean; start_ns, notice_ns,
///   select_ns:
///            of an operation, median, 0 where none occurs
///            extra: {"ttft_ns", "work": SessionWork}: of the sample's requests, mean and sums
/// Prefixes take turns and the tiers hold one of the two: pieces are read, admitted, demoted and evicted. Busy is what
/// the driver is not asleep; start is from an operation's readiness until its lane has begun it, notice from its end
/// until what depends on it alone is ready.
std::vector<std::unique_ptr<Cell>> driver_cells(const ModelGeometry& geometry, const DriverParts& parts);

}  // namespace reprefill::calibrate
