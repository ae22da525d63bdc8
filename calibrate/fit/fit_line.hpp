// Time of a transfer as a latency and a bandwidth.
#pragma once

#include <vector>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/meter/measurement.hpp"

namespace reprefill::calibrate {

struct Line {
  double latency_ns = 0;  // not negative
  double ns_per_byte = 0;
  double at(double bytes) const { return latency_ns + ns_per_byte * bytes; }
};

/// The least sum of squared relative errors.
Line fit_line(const std::vector<double>& bytes, const std::vector<double>& ns);

struct LineFit {
  Line line;
  FitReport report;  // held out: each size but the smallest and the largest
};
/// Cells of this quantity, by their shape's `bytes`. Needs two sizes.
LineFit fit_transfers(const std::vector<Measured>& cells, const std::string& quantity);

}  // namespace reprefill::calibrate
