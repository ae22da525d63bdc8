#include "calibrate/meter/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

std::vector<double> sorted(std::span<const double> values) {
  REPREFILL_CHECK(!values.empty(), "statistics of nothing");
  std::vector<double> result(values.begin(), values.end());
  std::ranges::sort(result);
  return result;
}

double quantile_of_sorted(const std::vector<double>& values, double share) {
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace

double quantile(std::span<const double> values, double share) { return quantile_of_sorted(sorted(values), share); }

double relative_spread(std::span<const double> values) {
  const std::vector<double> ordered = sorted(values);
  const double middle = quantile_of_sorted(ordered, 0.5);
  if (middle == 0) return 0;
  return (quantile_of_sorted(ordered, 0.9) - quantile_of_sorted(ordered, 0.1)) / (2 * std::abs(middle));
}

double median_uncertainty(std::span<const double> values) {
  constexpr std::size_t kFewest = 6;  // 1 - 2 / 2^6 = 0.969 is the first above 0.95
  if (values.size() < kFewest) return std::numeric_limits<double>::infinity();
  const std::vector<double> ordered = sorted(values);
  const double middle = quantile_of_sorted(ordered, 0.5);
  if (middle == 0) return ordered.front() == ordered.back() ? 0 : std::numeric_limits<double>::infinity();
  // The rank of the median is binomial(n, 1/2); its normal approximation, outwards.
  const auto n = static_cast<double>(ordered.size());
  const double reach = 0.98 * std::sqrt(n);  // 1.96 / 2
  const auto low = static_cast<std::size_t>(std::max(0.0, std::floor((n - 1) / 2 - reach)));
  const auto high = std::min(ordered.size() - 1, static_cast<std::size_t>(std::ceil((n - 1) / 2 + reach)));
  return (ordered[high] - ordered[low]) / (2 * std::abs(middle));
}

std::vector<bool> mark_outliers(std::span<const double> values) {
  if (values.empty()) return {};
  const double middle = median(values);
  std::vector<double> distances;
  for (const double value : values) distances.push_back(std::abs(value - middle));
  const double sigma = 1.4826 * median(distances);  // of a normal distribution
  const double limit = std::max(5 * sigma, 0.05 * std::abs(middle));
  std::vector<bool> marks;
  for (const double distance : distances) marks.push_back(distance > limit);
  return marks;
}

Summary summarise(std::span<const double> values) {
  const std::vector<double> ordered = sorted(values);
  const std::vector<bool> marks = mark_outliers(values);
  return {.num_samples = values.size(),
          .num_outliers = static_cast<std::size_t>(std::ranges::count(marks, true)),
          .median = quantile_of_sorted(ordered, 0.5),
          .p10 = quantile_of_sorted(ordered, 0.1),
          .p90 = quantile_of_sorted(ordered, 0.9),
          .minimum = ordered.front(),
          .maximum = ordered.back(),
          .spread = relative_spread(values)};
}

}  // namespace reprefill::calibrate
