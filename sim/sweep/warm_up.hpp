// Warm-up counts: the same for every system and parameter setting of a group, the largest that one of them needs
// (semantics 7).
#pragma once

#include <atomic>
#include <vector>

#include "sim/simulation/run_point.hpp"

namespace reprefill::sim {

/// The warm-up count of the points of one group; not empty. Simulates until the tiers are full where no number is
/// given.
std::uint64_t shared_warmup(std::vector<const Point*> group, SharedInputs& inputs,
                            const std::atomic<bool>& interrupted);

}  // namespace reprefill::sim
