// Which points of a sweep run in one go, because they choose from the same importance.
#pragma once

#include <vector>

#include "sim/scenario/scenario.hpp"

namespace reprefill::sim {

/// Splits `points` (numbers of points) into lots that `run_together` should run; most are a point alone. Points of a
/// lot choose single tokens for the same requests, such as both software paths of a setting, or cache sizes: drawing
/// their importance takes longer than all else. Lots are kept small enough for every worker to have several. It decides
/// how long a sweep takes, never what comes out.
std::vector<std::vector<std::size_t>> lots_of_points(const std::vector<Point>& all,
                                                     const std::vector<std::size_t>& points, std::size_t num_workers);

}  // namespace reprefill::sim
