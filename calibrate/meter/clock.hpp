// What time it is: real, or told by a test.
#pragma once

#include <chrono>

#include "core/base/units.hpp"

namespace reprefill::calibrate {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanoseconds now() = 0;
};

class SteadyClock final : public Clock {
 public:
  Nanoseconds now() override {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return Nanoseconds{std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()};
  }
};

/// How long `work` takes by `clock`, in nanoseconds.
template <typename Work>
double time_of(Clock& clock, Work&& work) {
  const Nanoseconds start = clock.now();
  work();
  return static_cast<double>((clock.now() - start).value);
}

}  // namespace reprefill::calibrate
