// The clock of the simulator and its queue of events, ordered by (time, sequence). Knows no LLM words.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/units.hpp"

namespace reprefill::sim {

class Simulation;

/// Something that happens at a point in time: lives in its owner, so that scheduling allocates nothing. Scheduling it
/// again moves it; destroying it withdraws it.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  bool scheduled() const { return position_ != kNotScheduled; }
  void cancel();

 protected:
  ~Timer() { cancel(); }

 private:
  friend class Simulation;
  static constexpr std::uint32_t kNotScheduled = ~std::uint32_t{0};
  virtual void fire() = 0;

  Simulation* simulation_ = nullptr;
  std::uint32_t position_ = kNotScheduled;
};

class Simulation {
 public:
  Simulation() = default;
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;
  ~Simulation() {
    for (const Entry& entry : heap_) entry.timer->position_ = Timer::kNotScheduled;
  }

  Nanoseconds now() const { return now_; }
  std::uint64_t num_events() const { return num_events_; }
  bool empty() const { return heap_.empty(); }

  /// Events of one time happen in the order in which they were scheduled.
  void schedule(Timer& timer, Nanoseconds at) {
    REPREFILL_CHECK(at >= now_, "an event at {} ns is in the past of {} ns", at.value, now_.value);
    timer.cancel();
    timer.simulation_ = this;
    heap_.push_back({at.value, next_sequence_++, &timer});
    sift_up(static_cast<std::uint32_t>(heap_.size() - 1), heap_.back());
  }

  /// Fires the earliest event. False: there is none.
  bool step() {
    if (heap_.empty()) return false;
    const Entry first = heap_.front();
    remove(0);
    now_ = Nanoseconds{first.time};
    ++num_events_;
    first.timer->fire();
    return true;
  }

  void run() {
    while (step()) {
    }
  }

 private:
  friend class Timer;
  struct Entry {
    std::int64_t time;
    std::uint64_t sequence;
    Timer* timer;
    bool before(const Entry& other) const {
      return time != other.time ? time < other.time : sequence < other.sequence;
    }
  };
  static constexpr std::uint32_t kArity = 4;

  void place(std::uint32_t position, const Entry& entry) {
    heap_[position] = entry;
    entry.timer->position_ = position;
  }
  void sift_up(std::uint32_t position, Entry entry) {
    while (position > 0) {
      const std::uint32_t parent = (position - 1) / kArity;
      if (!entry.before(heap_[parent])) break;
      place(position, heap_[parent]);
      position = parent;
    }
    place(position, entry);
  }
  void sift_down(std::uint32_t position, Entry entry) {
    const auto size = static_cast<std::uint32_t>(heap_.size());
    for (;;) {
      const std::uint32_t first = position * kArity + 1;
      if (first >= size) break;
      std::uint32_t best = first;
      for (std::uint32_t child = first + 1; child < size && child < first + kArity; ++child) {
        if (heap_[child].before(heap_[best])) best = child;
      }
      if (!heap_[best].before(entry)) break;
      place(position, heap_[best]);
      position = best;
    }
    place(position, entry);
  }
  void remove(std::uint32_t position) {
    heap_[position].timer->position_ = Timer::kNotScheduled;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (position == heap_.size()) return;
    if (position > 0 && last.before(heap_[(position - 1) / kArity])) {
      sift_up(position, last);
    } else {
      sift_down(position, last);
    }
  }

  std::vector<Entry> heap_;
  Nanoseconds now_{0};
  std::uint64_t next_sequence_ = 0;
  std::uint64_t num_events_ = 0;
};

inline void Timer::cancel() {
  if (scheduled()) simulation_->remove(position_);
}

}  // namespace reprefill::sim
