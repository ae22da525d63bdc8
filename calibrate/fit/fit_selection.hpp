// What the host takes to choose from scores, by how many there are.
#pragma once

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/meter/measurement.hpp"

namespace reprefill::calibrate {

struct SelectionFit {
  double overhead_ns = 0;
  double per_score_ns = 0;  // sums and heads that choose for themselves
  double per_vote_ns = 0;   // of probe heads' scores
  FitReport report;         // held out: each cell
};

/// Cells of quantity `select_scored`: a line through those by chunks and by KV heads, least relative squares; votes
/// have a slope of their own from the same overhead. Throws ConfigError where fewer than two cells and one vote were
/// measured.
SelectionFit fit_selection(const std::vector<Measured>& cells);

}  // namespace reprefill::calibrate
