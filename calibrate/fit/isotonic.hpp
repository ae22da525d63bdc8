// Monotone where physics is: the nearest monotone values to what was measured.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace reprefill::calibrate {

/// The non-decreasing sequence with the least sum of weighted squared differences (pool adjacent violators, Ayer et al.
/// 1955). Empty weights: all 1.
std::vector<double> isotonic(std::span<const double> values, std::span<const double> weights = {});

/// The same over a grid [num_rows][num_columns], non-decreasing along rows and along columns: projections onto both in
/// turn with Dykstra's corrections (Boyle and Dykstra 1986), until no value moves by more than 1e-9 of the range.
std::vector<double> isotonic_grid(std::span<const double> values, std::size_t num_rows, std::size_t num_columns);

/// The same for positive durations whose errors are relative: on their logarithms.
std::vector<double> isotonic_durations(std::span<const double> ns, std::size_t num_rows, std::size_t num_columns);

}  // namespace reprefill::calibrate
