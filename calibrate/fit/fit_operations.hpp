// From samples of a model's layers to the tables that the simulator takes, whatever device they were taken on.
#pragma once

#include <vector>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/meter/measurement.hpp"
#include "sim/devices/operation_tables.hpp"

namespace reprefill::calibrate {

struct OperationFit {
  sim::ModelOperations tables;
  std::vector<FitReport> reports;
};

/// Cells of quantity `layer`, `begin` and `first_token` whose shape names `geometry.name`. Medians, made monotone in
/// queries and keys (project: samples of all key counts pooled), times `mean_to_median`; the reports are of medians.
/// Held out: each inner line of the grid in turn, predicted from the others. Throws ConfigError where the cells are no
/// grid.
OperationFit fit_operations(const ModelGeometry& geometry, const std::vector<Measured>& cells, int num_probe_heads);

/// The mean of samples over their median, at least 1, pooled over a model's cells of a quantity.
double mean_to_median(const std::vector<Measured>& cells, const std::string& model, const std::string& quantity,
                      std::size_t metric);

/// What a roofline of this device would be: the best rates that were measured.
struct RooflineFit {
  double peak_flops_per_s = 0;
  double gemm_efficiency = 1;
  double attention_efficiency = 1;
  double memory_bandwidth_bytes_per_s = 0;
  double residual_sigma = 0;  // of the logarithm of samples around their cell's median
};
RooflineFit fit_roofline(const std::vector<ModelGeometry>& models, const std::vector<OperationFit>& fits,
                         const std::vector<Measured>& cells);

/// Robust standard deviation of log(sample / median of its cell) over all samples of a metric.
double residual_sigma(const std::vector<Measured>& cells, const std::string& quantity, std::size_t metric);

}  // namespace reprefill::calibrate
