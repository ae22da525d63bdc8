// What a fit says of itself: each point measured and fitted, and how well it predicts what it was not shown.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::calibrate {

struct FitPoint {
  Json shape;
  double measured = 0;  // median
  double spread = 0;    // (p90 - p10) / (2 median) of its samples
  bool converged = true;
  double fitted = 0;
  std::optional<double> held_out = std::nullopt;  // predicted by a fit that was not shown this point
};

struct FitReport {
  std::string name;  // "attend/qwen2.5-0.5b"
  std::string unit = "ns";
  std::string rule;  // how it interpolates and what was left out for `held_out`
  std::vector<FitPoint> points;

  /// |predicted / measured - 1| of points that have a prediction.
  std::vector<double> held_out_errors() const;
  std::vector<double> residuals() const;  // |fitted / measured - 1|
  /// Of points with a prediction: those whose error is no larger than their own spread.
  std::size_t num_within_spread() const;
  Json to_json() const;
  static FitReport from_json(const JsonValue& json);
};

/// One line a fit: points, residual, held-out error, within spread.
std::string describe(const std::vector<FitReport>& fits);

}  // namespace reprefill::calibrate
