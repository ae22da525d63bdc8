// How sure a mean over replicas is: resampled over seeds, never over the requests of one run (semantics 9).
#pragma once

#include <optional>
#include <span>
#include <utility>

namespace reprefill::record {

/// Fewer replicas say nothing about their spread; tails ask for more seeds.
inline constexpr std::size_t kMinReplicasForInterval = 3;
inline constexpr std::size_t kMinReplicasForTail = 10;

/// 95 % percentile bootstrap of the mean of one value per replica: 2,000 resamples from a fixed stream, so that the
/// same values give the same interval. Nullopt below kMinReplicasForInterval.
std::optional<std::pair<double, double>> bootstrap_interval(std::span<const double> replica_values);

}  // namespace reprefill::record
