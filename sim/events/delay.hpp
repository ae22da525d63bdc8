// Waiting for a time, in a coroutine.
#pragma once

#include <coroutine>

#include "sim/events/simulation.hpp"

namespace reprefill::sim {

/// Resumes a coroutine from the event loop. Lives in the coroutine's frame as part of what it waits for: destroying the
/// frame withdraws it.
class Wakeup final : public Timer {
 public:
  void set_waiting(std::coroutine_handle<> waiting) { waiting_ = waiting; }

 private:
  void fire() override { waiting_.resume(); }
  std::coroutine_handle<> waiting_;
};

/// What Simulation::delay() returns. The time runs from the moment at which it is awaited. A delay of zero lets
/// everything else that is due at this time go first.
class Delay {
 public:
  Delay(Simulation& simulation, Nanoseconds duration) : simulation_(&simulation), duration_(duration) {}

  class Awaiter {
   public:
    Awaiter(Simulation& simulation, Nanoseconds duration) : simulation_(simulation), duration_(duration) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
      wakeup_.set_waiting(waiting);
      simulation_.schedule(wakeup_, simulation_.now() + duration_);
    }
    void await_resume() const noexcept {}

   private:
    Simulation& simulation_;
    Nanoseconds duration_;
    Wakeup wakeup_;
  };

  Awaiter operator co_await() const { return Awaiter(*simulation_, duration_); }

 private:
  Simulation* simulation_;
  Nanoseconds duration_;
};

inline Delay Simulation::delay(Nanoseconds duration) {
  // As unsigned numbers this refuses negative delays too.
  REPREFILL_CHECK(static_cast<std::uint64_t>(duration.value) <=
                      static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max() - now_.value),
                  "a delay of {} ns from {} ns ends in the past or beyond the end of time", duration.value, now_.value);
  return Delay(*this, duration);
}

}  // namespace reprefill::sim
