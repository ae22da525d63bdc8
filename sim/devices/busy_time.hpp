// How long a resource served something: the union of its operations' service, counted as it happens.
#pragma once

#include "core/base/error.hpp"
#include "core/base/units.hpp"

namespace reprefill::sim {

/// Told of every beginning and end of a service, in order of time. Background work that ends long after it began needs
/// no care: nothing is booked before it is over.
class BusyTime {
 public:
  void begin(Nanoseconds now) {
    if (num_active_++ == 0) since_ = now;
  }
  void end(Nanoseconds now) {
    REPREFILL_CHECK(num_active_ > 0, "a service ends at {} ns that never began", now.value);
    if (--num_active_ == 0) booked_ += now - since_;
  }
  /// Until `now`, what is being served included.
  Nanoseconds until(Nanoseconds now) const { return num_active_ > 0 ? booked_ + (now - since_) : booked_; }

 private:
  std::uint64_t num_active_ = 0;
  Nanoseconds since_{0};
  Nanoseconds booked_{0};
};

}  // namespace reprefill::sim
