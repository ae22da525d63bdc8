#include "sim/events/simulation.hpp"

#include <utility>

namespace reprefill::sim {

void detail::EventHeap::remove_root() {
  has_hole_ = false;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (!entries_.empty()) sift_down(0, last);
}

void detail::EventHeap::remove(std::size_t position) {
  const Entry last = entries_.back();
  entries_.pop_back();
  if (position == entries_.size()) return;
  // The last entry comes from elsewhere in the heap: it may belong above or below.
  if (position > 0 && last.before(entries_[(position - 1) / kArity])) {
    sift_up(position, last);
  } else {
    sift_down(position, last);
  }
}

void Timer::withdraw() {
  if (position_ == kReady) {
    ready_hook_.unlink();
  } else {
    simulation_->heap_.remove(position_);
  }
  position_ = kIdle;
}

/// Resuming inside an event would nest coroutines on the stack, and then one could destroy another that is below it.
class Simulation::Running {
 public:
  explicit Running(bool& running) : running_(running) {
    REPREFILL_CHECK(!running_, "step() or run() was called from within an event");
    running_ = true;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { running_ = false; }

 private:
  bool& running_;
};

Simulation::~Simulation() {
  destroy_spawned();
  // Timers of owners who outlive the simulation must not look for it in their destructors.
  heap_.for_each([](Timer& timer) { timer.position_ = Timer::kIdle; });
  ready_.clear_and_dispose([](Timer* timer) { timer->position_ = Timer::kIdle; });
}

void Simulation::clear() {
  REPREFILL_CHECK(!running_, "clear() was called from within an event: it would end its caller");
  destroy_spawned();
}

void Simulation::destroy_spawned() noexcept {
  while (!spawned_.empty()) spawned_.back().destroy_spawned();
}

inline bool Simulation::fire_next(Nanoseconds end) {
  heap_.close_hole();
  Timer* timer = nullptr;
  if (!heap_.empty() && heap_.first_time() <= (ready_.empty() ? end : now_)) {
    now_ = heap_.first_time();
    timer = heap_.take_first();
    ++num_timed_events_;
  } else if (!ready_.empty()) {
    timer = &ready_.front();
    ready_.pop_front();
    ++num_wakeups_;
  } else {
    return false;
  }
  timer->position_ = Timer::kIdle;
  timer->fire();
  if (failure_) [[unlikely]]
    std::rethrow_exception(std::exchange(failure_, nullptr));
  return true;
}

bool Simulation::step() {
  const Running running(running_);
  return fire_next(Nanoseconds{std::numeric_limits<std::int64_t>::max()});
}

void Simulation::run() {
  const Running running(running_);
  while (fire_next(Nanoseconds{std::numeric_limits<std::int64_t>::max()})) {}
}

void Simulation::run_until(Nanoseconds end) {
  const Running running(running_);
  REPREFILL_CHECK(end >= now_, "cannot run until {} ns: it is {} ns already", end.value, now_.value);
  while (fire_next(end)) {}
  now_ = end;
}

void Simulation::fail_in_the_past(Nanoseconds at) const {
  REPREFILL_CHECK(false, "an event at {} ns is in the past of {} ns", at.value, now_.value);
  std::abort();
}

}  // namespace reprefill::sim
