#include "core/record/bootstrap.hpp"

#include <algorithm>
#include <vector>

#include "core/base/random.hpp"
#include "core/record/ttft_statistics.hpp"

namespace reprefill::record {

std::optional<std::pair<double, double>> bootstrap_interval(std::span<const double> replica_values) {
  if (replica_values.size() < kMinReplicasForInterval) return std::nullopt;
  constexpr std::size_t kResamples = 2000;
  const std::uint64_t stream = hash_name("record/bootstrap");
  std::vector<double> means;
  means.reserve(kResamples);
  for (std::uint64_t resample = 0; resample < kResamples; ++resample) {
    double sum = 0;
    for (std::uint64_t i = 0; i < replica_values.size(); ++i) {
      sum += replica_values[combine64(combine64(stream, resample), i) % replica_values.size()];
    }
    means.push_back(sum / static_cast<double>(replica_values.size()));
  }
  std::sort(means.begin(), means.end());
  return std::pair(nearest_rank(means, 2.5), nearest_rank(means, 97.5));
}

}  // namespace reprefill::record
