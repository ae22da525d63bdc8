// Intervals and tests for answers to the same questions under two systems.
#pragma once

#include <cstdint>
#include <span>

namespace reprefill::study {

struct Interval {
  double low = 0;
  double high = 0;
};

/// 95 % Wilson score interval of a proportion (Wilson 1927). [0, 1] without trials.
Interval wilson_interval(std::uint64_t successes, std::uint64_t trials);

/// Two-sided exact McNemar test: the probability of so uneven a split of the discordant pairs if both systems were
/// equally good. 1 where there are none.
double mcnemar_p_value(std::uint64_t only_first_right, std::uint64_t only_second_right);

/// 95 % percentile bootstrap of a mean, resampling clusters: questions on the same prefix are not independent.
/// values[i] belongs to cluster_of[i]; 1,000 resamples from a stream of `seed`.
Interval cluster_bootstrap_mean(std::span<const double> values, std::span<const std::size_t> cluster_of,
                                std::uint64_t seed);

}  // namespace reprefill::study
