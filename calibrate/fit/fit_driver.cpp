#include "calibrate/fit/fit_driver.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate/meter/statistics.hpp"

namespace reprefill::calibrate {
namespace {

struct Probe {
  double busy = 0, operations = 0, pieces = 0;
};

/// One that was never seen awake (an overloaded machine, where clocks say that it waited all the time) has no relative
/// error.
bool is_of_a_driver(const Measured& cell) { return cell.spec.quantity == "driver" && median(cell.of(0)) > 0; }

/// Least squares of (a operations + b pieces) / busy = 1.
std::pair<double, double> solve(std::span<const Probe> probes) {
  double oo = 0, op = 0, pp = 0, o1 = 0, p1 = 0;
  for (const Probe& probe : probes) {
    if (probe.busy <= 0) continue;  // a thread that other programs kept waiting beyond the token says nothing
    const double o = probe.operations / probe.busy, p = probe.pieces / probe.busy;
    oo += o * o, op += o * p, pp += p * p, o1 += o, p1 += p;
  }
  const double determinant = oo * pp - op * op;
  if (determinant > 1e-9 * oo * pp) {
    const double a = (o1 * pp - p1 * op) / determinant, b = (p1 * oo - o1 * op) / determinant;
    if (a >= 0 && b >= 0) return {a, b};
    if (a < 0) return {0, p1 / pp};
  }
  return {oo > 0 ? o1 / oo : 0, 0};
}

}  // namespace

std::optional<DriverFit> fit_driver(const std::vector<Measured>& cells) {
  std::vector<Probe> probes;
  std::vector<double> starts, notices;
  for (const Measured& cell : cells) {
    if (!is_of_a_driver(cell)) continue;
    probes.push_back({median(cell.of(0)), median(cell.of(1)), median(cell.of(2))});
    starts.push_back(median(cell.of(3)));
    notices.push_back(median(cell.of(4)));
  }
  if (probes.empty()) return std::nullopt;
  const auto [per_operation, per_piece] = solve(probes);
  const auto whole = [](double ns) { return Nanoseconds{std::llround(ns)}; };
  DriverFit fit{.costs = {.per_operation = whole(per_operation),
                          .per_piece = whole(per_piece),
                          .start = whole(median(starts)),
                          .notice = whole(median(notices))},
                .report = {.name = "driver",
                           .rule = "a cost for each operation and one for each piece; held out: each system",
                           .points = {}}};
  std::size_t at = 0;
  for (const Measured& cell : cells) {
    if (!is_of_a_driver(cell)) continue;
    const Probe& probe = probes[at];
    std::vector<Probe> others = probes;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(at++));
    FitPoint point{.shape = cell.spec.shape,
                   .measured = probe.busy,
                   .spread = relative_spread(cell.of(0)),
                   .converged = cell.converged,
                   .fitted = per_operation * probe.operations + per_piece * probe.pieces};
    if (!others.empty()) {
      const auto [a, b] = solve(others);
      point.held_out = a * probe.operations + b * probe.pieces;
    }
    fit.report.points.push_back(std::move(point));
  }
  return fit;
}

}  // namespace reprefill::calibrate
