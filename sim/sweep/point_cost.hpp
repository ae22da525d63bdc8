// How long a point takes to simulate, relative to others.
#pragma once

#include "sim/scenario/scenario.hpp"

namespace reprefill::sim {

/// A relative estimate of a point's wall time: longest first balances the cores.
double estimated_cost(const Point& point);

}  // namespace reprefill::sim
