// How far whole sessions are from their prediction: what residuals of single operations cannot say (docs/fidelity.md).
#pragma once

#include <optional>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/run.hpp"
#include "sim/devices/common_mode.hpp"

namespace reprefill::calibrate {

struct CommonModeFit {
  sim::CommonMode common;
  FitReport report;  // of sessions' TTFTs; held out: with the driver's costs fitted to the other systems
};

/// From the driver cells, each beside its session in the simulator with the profile that `model` is. Every sigma is the
/// root mean square of logarithms of measured / predicted, around zero: a bias that all sessions have is not taken out
/// of the profile, so it belongs to its uncertainty.
///   gpu, link, ssd: busy time of the device; of the last two for each byte
///   host:           the driver's busy time, fitted to the other systems
///   ssd, besides:   how far reads drifted between their turns, and until the end of the calibration
///   session:        the part of whole TTFTs' errors that those four, independent of each other, do not account for
/// None where parts of the model are missing, or the cells' sessions (samples from before they were kept).
std::optional<CommonModeFit> fit_common_mode(const Plan& plan, const Measurements& measurements, const Json& model);

/// Standard deviation of the logarithm of reads' times beyond that of samples next to each other: from one turn of a
/// cell to another, or from the storage part to the calibration's end, whichever is more. Zero without such cells.
double drive_drift_sigma(const std::vector<Measured>& cells);

}  // namespace reprefill::calibrate
