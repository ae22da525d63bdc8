// The driver's time by what it issues.
#pragma once

#include <optional>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/meter/measurement.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::calibrate {

struct DriverFit {
  sim::DriverCosts costs;
  FitReport report;
};
/// Busy time as a cost for each operation and one for each piece, neither negative, by least relative squares over the
/// `driver` cells; starts and notices are medians over them. None where no cell was measured.
std::optional<DriverFit> fit_driver(const std::vector<Measured>& cells);

}  // namespace reprefill::calibrate
