// The clock of the simulator and its queue of events, ordered by (time, sequence). Knows no LLM words.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>

#include <boost/intrusive/list.hpp>

#include "core/base/error.hpp"
#include "core/base/units.hpp"
#include "sim/events/event_heap.hpp"

namespace reprefill::sim {

class Delay;
class Process;
class Simulation;

namespace detail {

/// Membership of one intrusive list per tag; its destruction leaves the list.
template <typename Tag>
using ListHook = boost::intrusive::list_base_hook<boost::intrusive::tag<Tag>,
                                                  boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
template <typename Item, typename Tag>
using List = boost::intrusive::list<Item, boost::intrusive::base_hook<ListHook<Tag>>,
                                    boost::intrusive::constant_time_size<false>>;

struct SpawnedTag {};
/// What the simulation sees of the processes that it owns.
class Spawned : public ListHook<SpawnedTag> {
 public:
  virtual void destroy_spawned() noexcept = 0;

 protected:
  ~Spawned() = default;
};

}  // namespace detail

/// Something that happens at a point in time: lives in its owner, so that scheduling allocates nothing. Scheduling it
/// again moves it; destroying it withdraws it. When it fires it is no longer scheduled: it may schedule itself again,
/// and its owner may destroy it.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  bool scheduled() const { return position_ != kIdle; }
  void cancel() {
    if (scheduled()) withdraw();
  }

 protected:
  ~Timer() { cancel(); }

 private:
  friend class Simulation;
  friend class detail::EventHeap;
  static constexpr std::uint32_t kIdle = ~std::uint32_t{0};
  static constexpr std::uint32_t kReady = kIdle - 1;

  virtual void fire() = 0;
  void withdraw();

  boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> ready_hook_;
  Simulation* simulation_ = nullptr;
  std::uint32_t position_ = kIdle;  // in the heap, or one of the above
};

/// Single-threaded; several simulations may run on several threads.
///
/// Declare it before the resources, links and process handles that use it. Spawned processes end with it, at whatever
/// point they wait; what their local variables refer to, other than resources and links, must live until then or until
/// clear().
class Simulation {
 public:
  Simulation() = default;
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;
  ~Simulation();

  Nanoseconds now() const { return now_; }
  /// Events that came at their time, and wake-ups without a delay.
  std::uint64_t num_events() const { return num_timed_events_ + num_wakeups_; }
  std::uint64_t num_timed_events() const { return num_timed_events_; }
  /// Nothing is scheduled any more.
  bool empty() const { return ready_.empty() && heap_.empty(); }

  /// Events of one time happen in the order in which they were scheduled. An event in the past is an InvariantError.
  void schedule(Timer& timer, Nanoseconds at) {
    if (at <= now_) {
      if (at < now_) [[unlikely]]
        fail_in_the_past(at);
      wake(timer);
      return;
    }
    timer.cancel();
    timer.simulation_ = this;
    heap_.push({at.value, next_sequence_++, &timer});
  }
  /// Schedules it now, behind everything that is to happen at this time already.
  void wake(Timer& timer) {
    timer.cancel();
    timer.simulation_ = this;
    timer.position_ = Timer::kReady;
    ready_.push_back(timer);
  }

  /// `co_await simulation.delay(ns)`, in any coroutine. delay.hpp.
  [[nodiscard]] Delay delay(Nanoseconds duration);
  /// Starts the process and owns it. process.hpp.
  void spawn(Process process);

  /// Fires the earliest event. False: there is none. What it throws, and what a process throws that nobody waits for,
  /// comes out of step() and run(); the simulation may be continued afterwards.
  bool step();
  void run();
  /// Fires everything up to and including `end`; then it is `end`.
  void run_until(Nanoseconds end);

  /// Ends all spawned processes where they are, the youngest first.
  void clear();

  /// For coroutine types: this exception comes out of the current step().
  void surface(std::exception_ptr failure) { failure_ = std::move(failure); }

 private:
  friend class Timer;
  friend class Process;
  class Running;
  using ReadyList =
      boost::intrusive::list<Timer,
                             boost::intrusive::member_hook<Timer, decltype(Timer::ready_hook_), &Timer::ready_hook_>,
                             boost::intrusive::constant_time_size<false>>;

  bool fire_next(Nanoseconds end);
  void destroy_spawned() noexcept;
  [[noreturn]] void fail_in_the_past(Nanoseconds at) const;

  // Events at the current time. What is in the heap for the current time was scheduled before the clock reached it,
  // hence before everything here: the heap goes first, and no sequence numbers need comparing.
  ReadyList ready_;
  detail::EventHeap heap_;
  Nanoseconds now_{0};
  std::uint64_t next_sequence_ = 0;
  std::uint64_t num_timed_events_ = 0;
  std::uint64_t num_wakeups_ = 0;
  std::exception_ptr failure_;
  bool running_ = false;
  detail::List<detail::Spawned, detail::SpawnedTag> spawned_;
};

namespace detail {

inline void EventHeap::place(std::size_t position, const Entry& entry) {
  entries_[position] = entry;
  entry.timer->position_ = static_cast<std::uint32_t>(position);
}

inline void EventHeap::sift_up(std::size_t position, Entry entry) {
  while (position > 0) {
    const std::size_t parent = (position - 1) / kArity;
    if (!entry.before(entries_[parent])) break;
    place(position, entries_[parent]);
    position = parent;
  }
  place(position, entry);
}

inline void EventHeap::sift_down(std::size_t position, Entry entry) {
  const std::size_t size = entries_.size();
  for (;;) {
    const std::size_t first = position * kArity + 1;
    if (first >= size) break;
    std::size_t best = first;
    const std::size_t end = first + kArity < size ? first + kArity : size;
    for (std::size_t child = first + 1; child < end; ++child) {
      best = entries_[child].before(entries_[best]) ? child : best;
    }
    if (!entries_[best].before(entry)) break;
    place(position, entries_[best]);
    position = best;
  }
  place(position, entry);
}

inline void EventHeap::push(const Entry& entry) {
  if (has_hole_) {
    has_hole_ = false;
    sift_down(0, entry);
  } else {
    entries_.push_back(entry);
    sift_up(entries_.size() - 1, entry);
  }
}

}  // namespace detail
}  // namespace reprefill::sim
