#include "sim/sweep/point_cost.hpp"

#include <map>

#include "sim/simulation/run_point.hpp"

namespace reprefill::sim {

double estimated_cost(const Point& point) {
  double requests = 0, tokens = 0;
  if (point.workload.is_trace) {
    requests = point.workload.trace.max_requests > 0 ? static_cast<double>(point.workload.trace.max_requests) : 7000;
    tokens = 6000;
  } else {
    requests = static_cast<double>(point.workload.pool.measured_requests + warmup_limit(point));
    tokens = point.workload.pool.prefix_tokens;
  }
  // Token-level scoring and 64-token objects of every layer cost most; per token and layer, by measurement.
  static const std::map<std::string, double> kWeight = {{"recompute", 0.01},      {"resident", 0.01},
                                                        {"attention_store", 1.0}, {"as_h2o", 8.0},
                                                        {"impress", 6.0},         {"contiguous_kv", 0.4}};
  const auto weight = kWeight.find(point.system);
  return requests * tokens * point.geometry.num_layers * (weight == kWeight.end() ? 1.0 : weight->second);
}

}  // namespace reprefill::sim
