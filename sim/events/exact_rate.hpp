// A bandwidth whose transfer times carry no rounding error.
#pragma once

#include <cstdint>
#include <numeric>

#include "core/base/error.hpp"
#include "core/base/units.hpp"

namespace reprefill::sim {

/// Whole bytes per second (a fraction is rounded down: never too fast), as a reduced fraction of bytes per nanosecond.
class ExactRate {
 public:
  explicit ExactRate(BytesPerSecond rate) {
    REPREFILL_CHECK(rate.value >= 1 && rate.value <= 9.0e18, "a bandwidth of {} bytes/s", rate.value);
    const auto bytes_per_s = static_cast<std::uint64_t>(rate.value);
    const std::uint64_t divisor = std::gcd(bytes_per_s, kNanosecondsPerSecond);
    bytes_ = bytes_per_s / divisor;
    ns_ = kNanosecondsPerSecond / divisor;
  }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t ns() const { return ns_; }

  /// Rounded up: a transfer never ends before its last byte.
  Nanoseconds time_for(unsigned __int128 size_bytes) const {
    return Nanoseconds{static_cast<std::int64_t>((size_bytes * ns_ + bytes_ - 1) / bytes_)};
  }

 private:
  static constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
  std::uint64_t bytes_;
  std::uint64_t ns_;
};

}  // namespace reprefill::sim
