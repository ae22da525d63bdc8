#include "sim/simulation/prediction_range.hpp"

#include <algorithm>

#include "core/record/ttft_statistics.hpp"

namespace reprefill::sim {

Json prediction_range(const Point& point, SharedInputs& inputs, const RunOptions& options) {
  if (point.range_replicas == 0 || !point.profile.has_residuals()) return nullptr;
  Point replica = point;
  replica.mass_requests = 0;
  replica.keep_requests = false;
  constexpr const char* kStatistics[] = {"mean_ttft_ms", "median_ttft_ms"};
  std::array<std::vector<double>, std::size(kStatistics)> values;
  for (std::uint64_t i = 0; i < point.range_replicas; ++i) {
    RunOptions run = options;
    run.keep_spans = false;
    run.range_replica = i;
    if (options.on_progress) {
      run.on_progress = [&](double share) {
        options.on_progress((static_cast<double>(i) + share) / static_cast<double>(point.range_replicas));
      };
    }
    const RunResult result = run_point(replica, inputs, run);
    for (std::size_t s = 0; s < values.size(); ++s) {
      values[s].push_back(result.row.at("ttft").at(kStatistics[s]).get<double>());
    }
  }
  Json range = {
      {"level", 0.9}, {"replicas", point.range_replicas}, {"common_mode", point.profile.common_mode.has_value()}};
  for (std::size_t s = 0; s < values.size(); ++s) {
    std::sort(values[s].begin(), values[s].end());
    range[kStatistics[s]] = {{"low", record::nearest_rank(values[s], 5)},
                             {"high", record::nearest_rank(values[s], 95)}};
  }
  return range;
}

}  // namespace reprefill::sim
