// Two bundles, quantity by quantity.
#pragma once

#include <string>
#include <vector>

#include "calibrate/fit/fit_report.hpp"

namespace reprefill::calibrate {

enum class Change : std::uint8_t { better, worse, same, ambiguous, only_first, only_second };
const char* name_of(Change change);

struct Difference {
  std::string quantity;  // "ssd.read_bandwidth_bytes_per_s", "attend/qwen2.5-0.5b"
  Json shape = nullptr;  // of a measured point
  std::optional<double> first, second;
  double noise = 0;  // relative, of both together; 0 for plain numbers
  Change change = Change::same;
};

/// Measured points by fit and shape, then the numbers of each part. Of two medians the second is better or worse if
/// they differ by more than both spreads together and by 2 %, the same if difference and spreads are within 5 %, else
/// ambiguous. Numbers without spread: what differs is better or worse, or, where neither is (a size, a count of
/// devices), ambiguous.
std::vector<Difference> diff_bundles(const Json& first, const Json& second);

}  // namespace reprefill::calibrate
