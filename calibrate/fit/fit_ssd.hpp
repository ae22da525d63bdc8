// From reads at sizes and depths to the simulator's drive: latencies that overlap on channels, and one bandwidth
// server.
#pragma once

#include <optional>
#include <vector>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/meter/measurement.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::calibrate {

/// Software time of one read that is in every measurement and that the simulator charges apart.
struct IoCalls {
  double submit_ns = 0;
  double harvest_ns = 0;
};
/// Of 32 reads submitted together; zero where the cells are missing (a fio result).
IoCalls io_calls(const std::vector<Measured>& cells);

struct SsdFit {
  sim::SsdProfile ssd;  // without a name
  std::vector<FitReport> reports;
  std::optional<double> first_group_share;  // of the service cell, which decides ssd.service; none without one
  bool has_writes = false;                  // else write numbers and mixed_slowdown are unset
};

/// Random reads through one ring. At each size: the bandwidth is the median over the deeper half of the depths, the
/// latency what depth 1 takes beyond the transfer and the calls; both monotone in the size. The number of channels is
/// what fits all depths best. Transfers are shared where the first of two groups of reads ends later than half way
/// between first come first served (half the time) and all alike (all of it). Held out: each depth but the first and
/// the deepest. Throws ConfigError without reads at depth 1 and at more.
SsdFit fit_ssd(const std::vector<Measured>& cells);

/// Nanoseconds per read, with `depth` under way: the slowest of latency spread over depth, over channels, and transfer.
double predict_read_ns(const sim::SsdProfile& ssd, Bytes size, double depth, const IoCalls& calls);

}  // namespace reprefill::calibrate
