#include "calibrate/fit/fit_ssd.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "calibrate/fit/isotonic.hpp"
#include "calibrate/meter/statistics.hpp"
#include "calibrate/storage/latency_histogram.hpp"

namespace reprefill::calibrate {
namespace {

using ByDepth = std::map<std::uint32_t, const Measured*>;
using Reads = std::map<std::uint64_t, ByDepth>;  // by size

bool is_random_read(const Measured& cell) {
  return cell.spec.quantity == "read" && cell.spec.shape.at("pattern") == "random" && cell.spec.shape.at("rings") == 1;
}

Reads reads_of(const std::vector<Measured>& cells, std::optional<std::uint32_t> without_depth) {
  Reads reads;
  for (const Measured& cell : cells) {
    if (!is_random_read(cell)) continue;
    const auto depth = cell.spec.shape.at("depth").get<std::uint32_t>();
    if (depth == without_depth) continue;
    reads[cell.spec.shape.at("bytes").get<std::uint64_t>()][depth] = &cell;
  }
  std::erase_if(reads, [](const auto& entry) { return !entry.second.contains(1) || entry.second.size() < 2; });
  if (reads.empty()) {
    throw ConfigError("storage: no random reads at depth 1 and at a greater depth: a drive cannot be fitted to that");
  }
  return reads;
}

/// Nanoseconds per read where more depth brings no more: over the deeper half of the depths, since the best of many
/// noisy ones would be luck.
double saturated_ns(const ByDepth& by_depth) {
  std::vector<double> deep;
  std::size_t place = 0;
  for (const auto& [depth, cell] : by_depth) {
    if (2 * place++ >= by_depth.size() - 1) deep.push_back(median(cell->of()));
  }
  return median(deep);
}

/// Latency and bandwidth by size, monotone: larger reads have no less of either.
std::vector<sim::ReadCost> fit_curve(const Reads& reads, const IoCalls& calls) {
  std::vector<double> sizes, rates, unloaded;
  for (const auto& [size, by_depth] : reads) {
    sizes.push_back(static_cast<double>(size));
    unloaded.push_back(median(by_depth.at(1)->of()));
    // Never slower than one after the other: what is left of the unloaded time is latency.
    const double saturated = std::min(saturated_ns(by_depth), unloaded.back());
    rates.push_back(static_cast<double>(size) / saturated * 1e9);
  }
  rates = isotonic_durations(rates, 1, rates.size());
  unloaded = isotonic_durations(unloaded, 1, unloaded.size());
  std::vector<sim::ReadCost> curve;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const double transfer = sizes[i] / rates[i] * 1e9;
    const double latency = std::max(0.0, unloaded[i] - transfer - calls.submit_ns - calls.harvest_ns);
    curve.push_back(
        {Bytes{static_cast<std::uint64_t>(sizes[i])}, Nanoseconds{std::llround(latency)}, BytesPerSecond{rates[i]}});
  }
  return curve;
}

double total_error(const sim::SsdProfile& ssd, const Reads& reads, const IoCalls& calls) {
  double total = 0;
  for (const auto& [size, by_depth] : reads) {
    for (const auto& [depth, cell] : by_depth) {
      total += std::abs(std::log(predict_read_ns(ssd, Bytes{size}, depth, calls) / median(cell->of())));
    }
  }
  return total;
}

sim::SsdProfile fit_reads(const Reads& reads, const IoCalls& calls) {
  sim::SsdProfile ssd;
  ssd.read_curve = fit_curve(reads, calls);
  // The headline numbers that what-if parts change: the smallest read's latency, the largest bandwidth.
  ssd.read_latency = ssd.read_curve.front().latency;
  ssd.read_bandwidth = ssd.read_curve.back().bandwidth;
  double least = 1e300;
  std::uint32_t best = 1;
  for (std::uint32_t channels = 1; channels <= 512; channels += channels < 64 ? 1 : 8) {
    ssd.num_channels = channels;
    // Strictly better: of equals the fewest channels.
    if (const double error = total_error(ssd, reads, calls); error < least - 1e-9) {
      least = error;
      best = channels;
    }
  }
  ssd.num_channels = best;
  return ssd;
}

FitReport report_reads(const sim::SsdProfile& ssd, const std::vector<Measured>& cells, const IoCalls& calls) {
  const Reads reads = reads_of(cells, std::nullopt);
  std::set<std::uint32_t> depths;
  for (const auto& [size, by_depth] : reads) {
    for (const auto& [depth, cell] : by_depth) depths.insert(depth);
  }
  std::map<std::uint32_t, sim::SsdProfile> without;
  for (const std::uint32_t depth : depths) {
    if (depth != 1 && depth != *depths.rbegin()) without[depth] = fit_reads(reads_of(cells, depth), calls);
  }
  FitReport report{.name = "ssd_read",
                   .rule =
                       "latency by size over channels, one bandwidth server by size; held out: each depth between 1 "
                       "and the deepest",
                   .points = {}};
  for (const auto& [size, by_depth] : reads) {
    for (const auto& [depth, cell] : by_depth) {
      FitPoint point{.shape = {{"bytes", size}, {"depth", depth}},
                     .measured = median(cell->of()),
                     .spread = relative_spread(cell->of()),
                     .converged = cell->converged,
                     .fitted = predict_read_ns(ssd, Bytes{size}, depth, calls)};
      if (const auto found = without.find(depth); found != without.end()) {
        point.held_out = predict_read_ns(found->second, Bytes{size}, depth, calls);
      }
      report.points.push_back(std::move(point));
    }
  }
  return report;
}

/// Standard deviation of the logarithm of single reads' latencies, at depth 1, from the 16 % and 84 % quantiles.
double latency_sigma(const Reads& reads) {
  std::vector<double> sigmas;
  for (const auto& [size, by_depth] : reads) {
    LatencyHistogram all;
    for (const Json& extra : by_depth.at(1)->extras) {
      if (extra.contains("latency")) all.add(LatencyHistogram::from_json(extra.at("latency")));
    }
    if (all.count() >= 100) sigmas.push_back(std::log(all.quantile_ns(0.84) / all.quantile_ns(0.16)) / 2);
  }
  return sigmas.empty() ? 0 : std::min(2.0, median(sigmas));
}

const Measured* find_cell(const std::vector<Measured>& cells, const std::string& quantity,
                          const std::function<bool(const Json&)>& matches) {
  const auto found = std::ranges::find_if(
      cells, [&](const Measured& cell) { return cell.spec.quantity == quantity && matches(cell.spec.shape); });
  return found == cells.end() ? nullptr : &*found;
}

bool fit_writes(const std::vector<Measured>& cells, const IoCalls& calls, sim::SsdProfile& ssd) {
  const Measured* small = find_cell(cells, "write", [](const Json& s) { return s.at("depth") == 1; });
  const Measured* large = find_cell(cells, "write", [](const Json& s) { return s.at("depth") != 1; });
  const Measured* mixed = find_cell(cells, "mixed", [](const Json&) { return true; });
  if (small == nullptr || large == nullptr || mixed == nullptr) return false;
  const auto bytes_of = [](const Measured& cell, const char* key) { return cell.spec.shape.at(key).get<double>(); };
  ssd.write_bandwidth = {bytes_of(*large, "bytes") / median(large->of()) * 1e9};
  const double transfer = bytes_of(*small, "bytes") / ssd.write_bandwidth.value * 1e9;
  ssd.write_latency = Nanoseconds{std::llround(std::max(0.0, median(small->of()) - transfer))};
  // Of each second of the mix, reads need bytes / what they reach alone, writes likewise; what is missing to one second
  // the mix costs.
  const double read_alone =
      predict_read_ns(ssd, Bytes{mixed->spec.shape.at("bytes").get<std::uint64_t>()}, bytes_of(*mixed, "depth"), calls);
  const double write_alone = bytes_of(*mixed, "write_bytes") / ssd.write_bandwidth.value * 1e9;
  const double busy = read_alone / median(mixed->of(0)) + write_alone / median(mixed->of(1));
  ssd.mixed_slowdown = std::clamp(1 / busy, 1.0, 100.0);
  return true;
}

}  // namespace

double predict_read_ns(const sim::SsdProfile& ssd, Bytes size, double depth, const IoCalls& calls) {
  const sim::ReadCost cost = ssd.read_cost(size);
  const double transfer = static_cast<double>(size.value) / cost.bandwidth.value * 1e9;
  const auto latency = static_cast<double>(cost.latency.value);
  const double software = calls.submit_ns + calls.harvest_ns;
  return std::max({(latency + transfer + software) / depth, latency / ssd.num_channels, transfer, software});
}

IoCalls io_calls(const std::vector<Measured>& cells) {
  const Measured* cell = find_cell(cells, "io_calls", [](const Json& shape) { return shape.at("depth") != 1; });
  if (cell == nullptr) return {};
  return {.submit_ns = median(cell->of(0)), .harvest_ns = median(cell->of(1))};
}

SsdFit fit_ssd(const std::vector<Measured>& cells) {
  const IoCalls calls = io_calls(cells);
  const Reads reads = reads_of(cells, std::nullopt);
  SsdFit fit{.ssd = fit_reads(reads, calls), .reports = {}, .first_group_share = std::nullopt};
  if (const Measured* cell = find_cell(cells, "service", [](const Json&) { return true; })) {
    constexpr double kHalfWay = 0.75;
    fit.first_group_share = median(cell->of(0)) / median(cell->of(1));
    if (*fit.first_group_share > kHalfWay) fit.ssd.service = sim::SsdService::shared;
  }
  fit.has_writes = fit_writes(cells, calls, fit.ssd);
  fit.ssd.residual_sigma = latency_sigma(reads);
  fit.reports.push_back(report_reads(fit.ssd, cells, calls));
  return fit;
}

}  // namespace reprefill::calibrate
