#include "study/compare/drive_drift.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate/meter/statistics.hpp"

namespace reprefill::study {
namespace {

const double* value_of(const DriveProbe& probe, const DriveCell& cell) {
  const auto found = std::ranges::find_if(probe.values, [&](const DriveProbe::Value& value) {
    return value.cell.size == cell.size && value.cell.depth == cell.depth;
  });
  return found == probe.values.end() ? nullptr : &found->ns;
}

/// Of the probes that border on the round or lie within it: one between two rounds belongs to both.
std::optional<double> mean_of_round(std::span<const DriveProbe> probes, std::size_t first_run, std::size_t last_run,
                                    const DriveCell& cell) {
  double sum = 0, count = 0;
  for (const DriveProbe& probe : probes) {
    if (probe.num_runs_before < first_run || probe.num_runs_before > last_run) continue;
    if (const double* ns = value_of(probe, cell)) sum += *ns, ++count;
  }
  return count > 0 ? std::optional(sum / count) : std::nullopt;
}

/// Ratios of the cells that are read one at a time, or of those that are not.
double ratio_at(const DriveDrift& drift, bool one_at_a_time, Bytes size) {
  const CellDrift *below = nullptr, *above = nullptr;  // cells are in ascending order of size
  for (const CellDrift& cell : drift.cells) {
    if ((cell.cell.depth == 1) != one_at_a_time) continue;
    if (cell.cell.size <= size) below = &cell;
    if (cell.cell.size >= size && above == nullptr) above = &cell;
  }
  if (below == nullptr || above == nullptr || below == above) return (below != nullptr ? below : above)->ratio();
  const auto log_of = [](Bytes bytes) { return std::log2(static_cast<double>(bytes.value)); };
  const double share =
      (log_of(size) - log_of(below->cell.size)) / (log_of(above->cell.size) - log_of(below->cell.size));
  return below->ratio() + share * (above->ratio() - below->ratio());
}

double geometric_mean(std::span<const double> ratios) {
  double sum = 0;
  for (const double ratio : ratios) sum += std::log(ratio);
  return std::exp(sum / static_cast<double>(ratios.size()));
}

bool has_both_depths(const DriveDrift& drift) {
  const auto is_single = [](const CellDrift& cell) { return cell.cell.depth == 1; };
  return std::ranges::any_of(drift.cells, is_single) && !std::ranges::all_of(drift.cells, is_single);
}

}  // namespace

std::optional<DriveDrift> drive_drift(std::span<const DriveProbe> probes, std::size_t num_rounds,
                                      std::size_t runs_a_round, const sim::SsdProfile& ssd) {
  DriveDrift drift;
  for (const DriveCell& cell : kDriveCells) {
    const auto calibrated = std::ranges::find_if(ssd.measured_reads, [&](const sim::MeasuredRead& read) {
      return read.size == cell.size && read.depth == cell.depth && read.ns > 0;
    });
    if (calibrated == ssd.measured_reads.end()) continue;
    CellDrift found{.cell = cell, .calibrated_ns = calibrated->ns, .rounds_ns = {}};
    for (std::size_t round = 0; round < num_rounds; ++round) {
      const auto mean = mean_of_round(probes, round * runs_a_round, (round + 1) * runs_a_round, cell);
      if (mean) found.rounds_ns.push_back(*mean);
    }
    if (found.rounds_ns.size() < num_rounds) continue;
    found.then_ns = calibrate::median(found.rounds_ns);
    drift.cells.push_back(std::move(found));
  }
  if (!has_both_depths(drift)) return std::nullopt;
  std::vector<double> ratios(drift.cells.size());
  std::ranges::transform(drift.cells, ratios.begin(), &CellDrift::ratio);
  drift.ratio = geometric_mean(ratios);
  for (std::size_t round = 0; round < num_rounds; ++round) {
    std::ranges::transform(drift.cells, ratios.begin(),
                           [&](const CellDrift& cell) { return cell.rounds_ns[round] / cell.calibrated_ns; });
    drift.round_ratio.push_back(geometric_mean(ratios));
  }
  return drift;
}

sim::SsdProfile drive_as_it_was(const sim::Profile& profile, const DriveDrift& drift) {
  sim::SsdProfile ssd = profile.ssd;
  const auto calls = static_cast<double>((profile.host.submission_cost + profile.host.completion_cost).value);
  for (sim::ReadCost& cost : ssd.read_curve) {
    const double transfer = static_cast<double>(cost.size.value) / cost.bandwidth.value * 1e9;
    const double whole = static_cast<double>(cost.latency.value) + transfer + calls;
    const double whole_then = whole * ratio_at(drift, true, cost.size);
    // Never slower than one after the other.
    const double transfer_then = std::min(whole_then, transfer * ratio_at(drift, false, cost.size));
    cost.bandwidth = BytesPerSecond{static_cast<double>(cost.size.value) / transfer_then * 1e9};
    cost.latency = Nanoseconds{std::llround(std::max(0.0, whole_then - transfer_then - calls))};
  }
  if (!ssd.read_curve.empty()) {
    ssd.read_latency = ssd.read_curve.front().latency;
    ssd.read_bandwidth = ssd.read_curve.back().bandwidth;
  }
  return ssd;
}

Json to_json(const DriveDrift& drift) {
  Json json = {
      {"read_time_ratio", drift.ratio}, {"rounds_read_time_ratio", drift.round_ratio}, {"cells", Json::array()}};
  for (const CellDrift& cell : drift.cells) {
    json["cells"].push_back({{"bytes", cell.cell.size.value},
                             {"depth", cell.cell.depth},
                             {"calibrated_ns", cell.calibrated_ns},
                             {"then_ns", cell.then_ns},
                             {"ratio", cell.ratio()},
                             {"rounds_ns", cell.rounds_ns}});
  }
  return json;
}

std::string in_words(const DriveDrift& drift) {
  const auto change = [](double ratio) { return fmt::format("{:+.0f} %", 100 * (ratio - 1)); };
  std::string rounds;
  for (const double ratio : drift.round_ratio) rounds += (rounds.empty() ? "" : ", ") + change(ratio);
  constexpr double kSame = 0.02;  // less than calibration itself is sure of
  const std::string all = std::abs(drift.ratio - 1) < kSame ? "as long as"
                          : drift.ratio > 1 ? fmt::format("{:.0f} % longer than", 100 * (drift.ratio - 1))
                                            : fmt::format("{:.0f} % less long than", 100 * (1 - drift.ratio));
  return fmt::format("Reads took {} when the drive was calibrated; round by round: {}.", all, rounds);
}

}  // namespace reprefill::study
