#pragma once

#include <cmath>
#include <optional>
#include <string_view>

#include "core/base/random.hpp"
#include "core/base/units.hpp"

namespace reprefill::sim {

/// Residual spread of a device's durations: a log-normal factor of mean 1, seeded, only on request (design 5, A24).
class Noise {
 public:
  Noise() = default;
  Noise(double sigma, std::uint64_t seed, std::uint64_t replica, std::string_view device)
      : stream_(std::in_place, seed, replica, device), sigma_(sigma) {}

  Nanoseconds apply(Nanoseconds duration) {
    if (!stream_ || sigma_ == 0) return duration;
    const double factor = std::exp(stream_->normal(-0.5 * sigma_ * sigma_, sigma_));
    return Nanoseconds{static_cast<std::int64_t>(std::ceil(static_cast<double>(duration.value) * factor))};
  }

 private:
  std::optional<RandomStream> stream_;
  double sigma_ = 0;
};

}  // namespace reprefill::sim
