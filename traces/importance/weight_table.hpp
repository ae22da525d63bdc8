// Weights exp(sigma z) of normal variates z, by eight random bits: generating one costs a look-up, no exp or log.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include <boost/math/distributions/normal.hpp>

namespace reprefill::traces::detail {

inline constexpr std::size_t kNumLevels = 256;
using WeightTable = std::array<float, kNumLevels>;

/// The midpoint quantiles of the normal distribution, scaled to variance 1.
inline std::array<double, kNumLevels> normal_levels() {
  std::array<double, kNumLevels> levels{};
  double sum_of_squares = 0;
  const boost::math::normal normal;
  for (std::size_t i = 0; i < kNumLevels; ++i) {
    levels[i] = boost::math::quantile(normal, (static_cast<double>(i) + 0.5) / static_cast<double>(kNumLevels));
    sum_of_squares += levels[i] * levels[i];
  }
  const double scale = std::sqrt(static_cast<double>(kNumLevels) / sum_of_squares);
  for (double& level : levels) level *= scale;
  return levels;
}

/// Weights of mean 1; variates above the median are scaled by `hot_factor` (1: log-normal weights).
inline WeightTable make_weights(const std::array<double, kNumLevels>& levels, double sigma, double hot_factor = 1) {
  std::array<double, kNumLevels> exact{};
  double mean = 0;
  for (std::size_t i = 0; i < kNumLevels; ++i) {
    exact[i] = std::exp(sigma * levels[i] * (levels[i] > 0 ? hot_factor : 1.0));
    mean += exact[i] / static_cast<double>(kNumLevels);
  }
  WeightTable weights{};
  for (std::size_t i = 0; i < kNumLevels; ++i) weights[i] = static_cast<float>(exact[i] / mean);
  return weights;
}

}  // namespace reprefill::traces::detail
