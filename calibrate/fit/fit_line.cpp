#include "calibrate/fit/fit_line.hpp"

#include <algorithm>

#include "calibrate/meter/statistics.hpp"
#include "core/base/error.hpp"

namespace reprefill::calibrate {

Line fit_line(const std::vector<double>& bytes, const std::vector<double>& ns) {
  REPREFILL_CHECK(bytes.size() == ns.size() && bytes.size() >= 2, "a line through {} points", bytes.size());
  // With u = 1 / t and v = x / t, a u + b v = 1 is wanted.
  double uu = 0, uv = 0, vv = 0, u1 = 0, v1 = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const double u = 1 / ns[i], v = bytes[i] / ns[i];
    uu += u * u;
    uv += u * v;
    vv += v * v;
    u1 += u;
    v1 += v;
  }
  const double determinant = uu * vv - uv * uv;
  const double latency = (u1 * vv - v1 * uv) / determinant;
  if (latency >= 0) return {latency, (v1 * uu - u1 * uv) / determinant};
  return {0, v1 / vv};
}

LineFit fit_transfers(const std::vector<Measured>& cells, const std::string& quantity) {
  std::vector<const Measured*> found;
  for (const Measured& cell : cells) {
    if (cell.spec.quantity == quantity) found.push_back(&cell);
  }
  const auto bytes_of = [](const Measured* cell) { return cell->spec.shape.at("bytes").get<double>(); };
  std::ranges::sort(found, {}, bytes_of);
  for (const Measured* cell : found) {
    if (median(cell->of()) > 0) continue;
    throw MachineError(fmt::format("{}: copies that take no time: the clocks of host and device could not be followed",
                                   cell->spec.id));
  }
  const auto line_without = [&](std::size_t left_out) {
    std::vector<double> bytes, ns;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (i == left_out) continue;
      bytes.push_back(bytes_of(found[i]));
      ns.push_back(median(found[i]->of()));
    }
    return fit_line(bytes, ns);
  };
  LineFit fit{.line = line_without(found.size()),
              .report = {.name = quantity,
                         .rule = "latency + bytes / bandwidth, least relative squares; held out: each inner size",
                         .points = {}}};
  for (std::size_t i = 0; i < found.size(); ++i) {
    FitPoint point{.shape = found[i]->spec.shape,
                   .measured = median(found[i]->of()),
                   .spread = relative_spread(found[i]->of()),
                   .converged = found[i]->converged,
                   .fitted = fit.line.at(bytes_of(found[i]))};
    if (i > 0 && i + 1 < found.size() && found.size() > 3) point.held_out = line_without(i).at(bytes_of(found[i]));
    fit.report.points.push_back(std::move(point));
  }
  return fit;
}

}  // namespace reprefill::calibrate
