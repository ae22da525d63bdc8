// What masks add to an attention, and whether the length of pages matters, from samples beside those of `layer`.
#pragma once

#include <optional>
#include <vector>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/meter/measurement.hpp"
#include "sim/devices/operation_tables.hpp"

namespace reprefill::calibrate {

/// The share of kept tokens whose cells make the tables. Kernels go through masked tokens too, so other shares are
/// predicted by the same: the reports say how well.
inline constexpr double kMaskShare = 0.25;

struct MaskFit {
  std::optional<sim::DurationTable> keys, values;  // empty where no cell was measured
  std::vector<FitReport> reports;
};

/// Cells of quantity `attend_masked` whose shape names `geometry.name`: medians under the mask less those without, not
/// negative, monotone in queries and tokens; none over no token. Reports are of the whole attention. Held out: each
/// inner line of the grid, the worse of both, and every cell of another share.
MaskFit fit_masks(const ModelGeometry& geometry, const std::vector<Measured>& cells);

/// Cells of quantity `attend_pages`, against the table of other pages; nothing where there are none.
std::optional<FitReport> judge_pages(const ModelGeometry& geometry, const std::vector<Measured>& cells,
                                     const sim::DurationTable& attend);

}  // namespace reprefill::calibrate
