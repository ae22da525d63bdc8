#include "calibrate/fit/isotonic.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"

namespace reprefill::calibrate {

std::vector<double> isotonic(std::span<const double> values, std::span<const double> weights) {
  REPREFILL_CHECK(weights.empty() || weights.size() == values.size(), "{} weights of {} values", weights.size(),
                  values.size());
  struct Pool {
    double mean, weight;
    std::size_t count;
  };
  std::vector<Pool> pools;
  for (std::size_t i = 0; i < values.size(); ++i) {
    pools.push_back({values[i], weights.empty() ? 1 : weights[i], 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean > pools.back().mean) {
      const Pool last = pools.back();
      pools.pop_back();
      Pool& before = pools.back();
      before.mean = (before.mean * before.weight + last.mean * last.weight) / (before.weight + last.weight);
      before.weight += last.weight;
      before.count += last.count;
    }
  }
  std::vector<double> result;
  for (const Pool& pool : pools) result.insert(result.end(), pool.count, pool.mean);
  return result;
}

std::vector<double> isotonic_grid(std::span<const double> values, std::size_t num_rows, std::size_t num_columns) {
  REPREFILL_CHECK(values.size() == num_rows * num_columns, "{} values for {} x {}", values.size(), num_rows,
                  num_columns);
  if (values.empty()) return {};
  const auto project = [](std::vector<double>& grid, std::size_t lines, std::size_t length, std::size_t step,
                          std::size_t line_step) {
    std::vector<double> line(length);
    for (std::size_t i = 0; i < lines; ++i) {
      for (std::size_t j = 0; j < length; ++j) line[j] = grid[i * line_step + j * step];
      const std::vector<double> fitted = isotonic(line);
      for (std::size_t j = 0; j < length; ++j) grid[i * line_step + j * step] = fitted[j];
    }
  };
  std::vector<double> grid(values.begin(), values.end());
  std::vector<double> row_correction(grid.size(), 0), column_correction(grid.size(), 0);
  const auto [lowest, highest] = std::ranges::minmax(values);
  const double tolerance = 1e-9 * std::max(highest - lowest, 1e-12);
  constexpr int kMostRounds = 2000;
  for (int round = 0; round < kMostRounds; ++round) {
    const std::vector<double> before = grid;
    const auto step = [&](std::vector<double>& correction, auto&& projection) {
      for (std::size_t i = 0; i < grid.size(); ++i) correction[i] += grid[i];
      std::vector<double> projected = correction;
      projection(projected);
      for (std::size_t i = 0; i < grid.size(); ++i) correction[i] -= projected[i];
      grid = std::move(projected);
    };
    step(row_correction, [&](auto& g) { project(g, num_rows, num_columns, 1, num_columns); });
    step(column_correction, [&](auto& g) { project(g, num_columns, num_rows, num_columns, 1); });
    double moved = 0;
    for (std::size_t i = 0; i < grid.size(); ++i) moved = std::max(moved, std::abs(grid[i] - before[i]));
    if (moved <= tolerance) break;
  }
  // The last projection was onto columns; rows may be off by the tolerance, upwards is safe.
  for (std::size_t row = 0; row < num_rows; ++row) {
    for (std::size_t column = 0; column < num_columns; ++column) {
      double& value = grid[row * num_columns + column];
      if (column > 0) value = std::max(value, grid[row * num_columns + column - 1]);
      if (row > 0) value = std::max(value, grid[(row - 1) * num_columns + column]);
    }
  }
  return grid;
}

std::vector<double> isotonic_durations(std::span<const double> ns, std::size_t num_rows, std::size_t num_columns) {
  std::vector<double> logs;
  for (const double value : ns) logs.push_back(std::log(std::max(value, 1.0)));
  std::vector<double> fitted = isotonic_grid(logs, num_rows, num_columns);
  for (double& value : fitted) value = std::exp(value);
  return fitted;
}

}  // namespace reprefill::calibrate
