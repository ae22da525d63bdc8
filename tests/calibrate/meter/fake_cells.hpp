// Work of known length on a clock that a test turns.
#pragma once

#include <functional>

#include "calibrate/meter/measurement.hpp"

namespace reprefill::calibrate::testing_support {

class FakeClock final : public Clock {
 public:
  Nanoseconds now() override { return now_; }
  void advance(Nanoseconds by) { now_ += by; }

 private:
  Nanoseconds now_{0};
};

/// Each sample turns the clock by `length(number of this sample)` and reports what the clock says of it.
class FakeCell final : public Cell {
 public:
  FakeCell(const std::string& id, FakeClock& clock, std::function<std::int64_t(int)> length, bool interleaved = true)
      : Cell({.id = id, .quantity = "fake", .interleaved = interleaved}), clock_(clock), length_(std::move(length)) {}
  void prepare() override {
    ++num_turns;
    if (log != nullptr) log->push_back(spec().id);
  }
  Sample sample() override {
    const Nanoseconds work{length_(num_samples++)};
    return {.values = {time_of(clock_, [&] { clock_.advance(work); })}};
  }
  int num_turns = 0;
  int num_samples = 0;  // warm-up included
  std::vector<std::string>* log = nullptr;

 private:
  FakeClock& clock_;
  std::function<std::int64_t(int)> length_;
};

}  // namespace reprefill::calibrate::testing_support
