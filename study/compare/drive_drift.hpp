// How far the drive was from its calibration while a comparison measured, and the model of a drive as it was then.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/devices/profile.hpp"
#include "study/compare/drive_probe.hpp"

namespace reprefill::study {

/// One kind of read, then and when it was calibrated: nanoseconds from one read to the next.
struct CellDrift {
  DriveCell cell;
  double calibrated_ns = 0;
  std::vector<double> rounds_ns;  // of each round of real runs: mean of the probes before, within and after it
  double then_ns = 0;             // median of the rounds
  double ratio() const { return then_ns / calibrated_ns; }
};

struct DriveDrift {
  std::vector<CellDrift> cells;     // those that both have
  std::vector<double> round_ratio;  // time of a read against calibration: geometric mean over the cells
  double ratio = 1;                 // of the rounds' medians
};

/// None where the profile does not say what its drive was fitted to, or where a round has no probe. Rounds have
/// `runs_a_round` real runs each.
std::optional<DriveDrift> drive_drift(std::span<const DriveProbe> probes, std::size_t num_rounds,
                                      std::size_t runs_a_round, const sim::SsdProfile& ssd);

/// The profile's drive with times of reads as the cells found them. At depth 1 a read's whole time is rescaled, deeper
/// ones rescale its transfer, and what is left between the two is latency: as when it was fitted. Between sizes ratios
/// are linear in the logarithm of the size, outside as at the nearest. Writes stay as they are. Cells of both depths
/// must be there.
sim::SsdProfile drive_as_it_was(const sim::Profile& profile, const DriveDrift& drift);

Json to_json(const DriveDrift& drift);
/// "Reads took 12 % longer than when the drive was calibrated; in single rounds +10 %, +14 %."
std::string in_words(const DriveDrift& drift);

}  // namespace reprefill::study
