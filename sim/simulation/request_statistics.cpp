#include "sim/simulation/request_statistics.hpp"

#include <algorithm>

namespace reprefill::sim {

const char* RequestStatistics::verdict() const {
  const std::size_t n = requests.size();
  const auto mean_wait = [&](std::size_t first, std::size_t end) {
    double sum = 0;
    // In whole nanoseconds, so that "exactly twice" is not a matter of rounding.
    for (std::size_t i = first; i < end; ++i) {
      sum += static_cast<double>((requests[i].admission - requests[i].arrival).value);
    }
    return end > first ? sum / static_cast<double>(end - first) : 0.0;
  };
  const bool queue_left = static_cast<double>(waiting_at_last_arrival) > std::max(8.0, 0.01 * static_cast<double>(n));
  const bool growing = n >= 8 && mean_wait(3 * n / 4, n) > 2 * mean_wait(n / 4, n / 2);
  return queue_left || growing ? "BACKLOGGED" : "STABLE";
}

}  // namespace reprefill::sim
