// What is said of repeated measurements. Outliers are marked, never removed: medians do not mind them.
#pragma once

#include <span>
#include <vector>

namespace reprefill::calibrate {

/// Linear between order statistics (type 7 of Hyndman and Fan 1996); `share` in [0, 1]. Needs at least one value.
double quantile(std::span<const double> values, double share);
inline double median(std::span<const double> values) { return quantile(values, 0.5); }

/// (p90 - p10) / (2 median): the relative spread that predictions are judged by (design 9). 0 for a median of 0.
double relative_spread(std::span<const double> values);

/// Half the width of the 95 % confidence interval of the median, from order statistics (no distribution assumed),
/// relative to the median. Infinity below six values: no two order statistics enclose it with 95 %.
double median_uncertainty(std::span<const double> values);

/// Farther from the median than five standard deviations as the median absolute deviation estimates them, and than 5 %.
std::vector<bool> mark_outliers(std::span<const double> values);

struct Summary {
  std::size_t num_samples = 0;
  std::size_t num_outliers = 0;
  double median = 0, p10 = 0, p90 = 0, minimum = 0, maximum = 0;
  double spread = 0;
};
/// Needs at least one value.
Summary summarise(std::span<const double> values);

}  // namespace reprefill::calibrate
