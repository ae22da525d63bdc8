// What a recorded importance does not share with the point that uses it (semantics 8: such rows are flagged).
#pragma once

#include <string>

#include "sim/scenario/scenario.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::sim {

/// "budget: recorded 0.05, here 0.25; chunk_tokens: recorded 16, here 32"; "" where everything fits, or nothing was
/// recorded. Layers without scores of their own are no mismatch as long as a recorded period covers them.
std::string importance_mismatch(const Point& point, const traces::ImportanceSource& source);

}  // namespace reprefill::sim
