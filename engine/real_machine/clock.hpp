// Wall time of a run, in the unit that spans use.
#pragma once

#include <chrono>

#include "core/base/units.hpp"

namespace reprefill::engine {

/// Nanoseconds since the run began: steady, the same for every thread.
class RunClock {
 public:
  Nanoseconds now() const {
    return Nanoseconds{
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - origin_).count()};
  }
  /// The run's time of a moment on the steady clock.
  Nanoseconds at(std::chrono::steady_clock::time_point moment) const {
    return Nanoseconds{std::chrono::duration_cast<std::chrono::nanoseconds>(moment - origin_).count()};
  }

 private:
  std::chrono::steady_clock::time_point origin_ = std::chrono::steady_clock::now();
};

}  // namespace reprefill::engine
