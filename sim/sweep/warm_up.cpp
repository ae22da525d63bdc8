#include "sim/sweep/warm_up.hpp"

#include <algorithm>

#include "sim/sweep/point_cost.hpp"

namespace reprefill::sim {

std::uint64_t shared_warmup(std::vector<const Point*> group, SharedInputs& inputs,
                            const std::atomic<bool>& interrupted) {
  const Point& any = *group.front();
  if (any.workload.is_trace) return 0;
  if (any.workload.pool.warmup_requests) return *any.workload.pool.warmup_requests;
  // The smallest budget fills the tiers last: once one point needs the limit, so do all.
  std::stable_sort(group.begin(), group.end(),
                   [&](const Point* a, const Point* b) { return estimated_cost(*a) < estimated_cost(*b); });
  std::uint64_t needed = 0;
  for (const Point* point : group) {
    if (!point->system_params.contains("gpu_cache_bytes")) continue;
    needed = std::max(needed, warmup_needed(*point, inputs, {.interrupted = &interrupted}));
    if (needed >= warmup_limit(*point)) break;
  }
  return needed;
}

}  // namespace reprefill::sim
