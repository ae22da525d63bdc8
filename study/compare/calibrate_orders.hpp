// The reordered store that points with `reorder.io: offline` are compared on.
#pragma once

#include "engine/store/stored_orders.hpp"
#include "study/compare/real_run.hpp"

namespace reprefill::study {

/// The reordered layout that a point's system reads, and from how many requests its order comes.
struct WantedOrder {
  engine::StoredLayout layout;
  std::uint32_t calibration_requests = 0;
};
/// nullopt for a system that does not reorder offline.
std::optional<WantedOrder> wanted_order(const sim::Point& point);

/// Reorders the store as the points want it: the engine serves calibration requests, which are none of the points', on
/// each stored prefix with everything kept, and their scores order the tokens. A store that is ordered so is left
/// alone. `work_folder` takes the recorded importance. Throws ConfigError where two points want one layout in two
/// orders.
void calibrate_orders(engine::Model& model, engine::Store& store, std::span<const sim::Point> points,
                      const RealRunOptions& options, const std::filesystem::path& work_folder);

}  // namespace reprefill::study
