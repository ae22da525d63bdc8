#include "study/statistics/paired_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <boost/math/distributions/binomial.hpp>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::study {

Interval wilson_interval(std::uint64_t successes, std::uint64_t trials) {
  if (trials == 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double centre = p + z * z / (2 * n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  return {std::max(0.0, (centre - half) / scale), std::min(1.0, (centre + half) / scale)};
}

double mcnemar_p_value(std::uint64_t only_first_right, std::uint64_t only_second_right) {
  const std::uint64_t discordant = only_first_right + only_second_right;
  if (discordant == 0) return 1;
  const boost::math::binomial_distribution<double> fair(static_cast<double>(discordant), 0.5);
  const auto fewer = static_cast<double>(std::min(only_first_right, only_second_right));
  return std::min(1.0, 2 * boost::math::cdf(fair, fewer));
}

Interval cluster_bootstrap_mean(std::span<const double> values, std::span<const std::size_t> cluster_of,
                                std::uint64_t seed) {
  REPREFILL_CHECK(values.size() == cluster_of.size() && !values.empty(), "{} values, {} clusters", values.size(),
                  cluster_of.size());
  const std::size_t num_clusters = *std::max_element(cluster_of.begin(), cluster_of.end()) + 1;
  std::vector<double> sums(num_clusters, 0), counts(num_clusters, 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    sums[cluster_of[i]] += values[i];
    counts[cluster_of[i]] += 1;
  }
  constexpr std::size_t kResamples = 1000;
  std::vector<double> means;
  for (std::size_t r = 0; r < kResamples; ++r) {
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < num_clusters; ++i) {
      const std::size_t chosen = mix64(combine64(combine64(seed, r), i)) % num_clusters;
      sum += sums[chosen];
      count += counts[chosen];
    }
    if (count > 0) means.push_back(sum / count);
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) {
    return means[static_cast<std::size_t>(share * static_cast<double>(means.size() - 1))];
  };
  return {at(0.025), at(0.975)};
}

}  // namespace reprefill::study
