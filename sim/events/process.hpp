// Processes: coroutines that live in simulated time.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <utility>

#include "sim/events/delay.hpp"
#include "sim/events/frame_pool.hpp"
#include "sim/events/simulation.hpp"

namespace reprefill::sim {

namespace detail {
struct JoinTag {};

/// A coroutine that knows its simulation, and so can start a process by waiting for it.
template <typename Promise>
concept KnowsSimulation = requires(Promise& promise) {
  { promise.simulation() } -> std::same_as<Simulation&>;
};
}  // namespace detail

class Join;
class JoinAwaiter;

/// A coroutine that returns nothing:
///
///   Process customer(Simulation& simulation, Resource& server) {
///     const Lease lease = co_await server.acquire();
///     co_await simulation.delay(Nanoseconds{100});
///   }
///
/// It runs once `simulation.spawn(customer(...))` or `start()` has been called, or when it is awaited by another
/// process: `co_await customer(...)`. The handle owns it: destroying the handle ends the process at the point where it
/// waits, and withdraws it from every queue. A process may not end itself that way.
///
/// What it throws is rethrown to those who wait for it; if nobody does at that time, it comes out of Simulation::run().
class [[nodiscard]] Process {
 public:
  class promise_type;

  Process() = default;
  Process(Process&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Process& operator=(Process&& other) noexcept {
    if (this != &other) {
      cancel();
      coroutine_ = std::exchange(other.coroutine_, nullptr);
    }
    return *this;
  }
  ~Process() { cancel(); }

  /// Its first step comes at the current time, behind everything that is due already.
  void start(Simulation& simulation);
  /// It came to its end, by return or by exception.
  bool done() const { return coroutine_ && coroutine_.done(); }
  void cancel() noexcept {
    if (coroutine_) std::exchange(coroutine_, nullptr).destroy();
  }
  /// To wait for its end without owning it. Whoever waits for a process that is cancelled gets an InvariantError.
  Join join() const;
  JoinAwaiter operator co_await() &&;

 private:
  friend class Simulation;
  explicit Process(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  std::coroutine_handle<promise_type> coroutine_;
};

class JoinAwaiter : public detail::ListHook<detail::JoinTag> {
 public:
  explicit JoinAwaiter(Process::promise_type* process) : process_(process) {}
  bool await_ready();
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> waiting);
  void await_resume() const;

 private:
  friend class Process::promise_type;
  void wake(Simulation& simulation, bool cancelled, const std::exception_ptr& failure);

  Process::promise_type* process_;
  bool cancelled_ = false;
  std::exception_ptr failure_;
  Wakeup wakeup_;
};

/// What Process::join() returns; await it while the process exists.
class Join {
 public:
  explicit Join(Process::promise_type* process) : process_(process) {}
  JoinAwaiter operator co_await() const { return JoinAwaiter(process_); }

 private:
  Process::promise_type* process_;
};

class Process::promise_type final : public detail::PooledFrame, public detail::Spawned, private Timer {
 public:
  promise_type() = default;
  promise_type(const promise_type&) = delete;
  promise_type& operator=(const promise_type&) = delete;
  ~promise_type() {
    if (!joiners_.empty()) wake_joiners(true);
  }

  Process get_return_object() { return Process(handle()); }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept {
    struct Finish {
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<promise_type> coroutine) const noexcept { coroutine.promise().finish(); }
      void await_resume() const noexcept {}
    };
    return Finish{};
  }
  void return_void() const noexcept {}
  void unhandled_exception() { failure_ = std::current_exception(); }

  Simulation& simulation() { return *simulation_; }

 private:
  friend class Process;
  friend class JoinAwaiter;
  friend class Simulation;

  std::coroutine_handle<promise_type> handle() { return std::coroutine_handle<promise_type>::from_promise(*this); }
  bool started() const { return simulation_ != nullptr; }
  void start(Simulation& simulation) {
    REPREFILL_CHECK(!started(), "a process was started twice");
    simulation_ = &simulation;
    simulation.wake(*this);
  }
  void fire() override { handle().resume(); }
  void destroy_spawned() noexcept override { handle().destroy(); }
  void finish() noexcept {
    if (!joiners_.empty()) {
      wake_joiners(false);
    } else if (failure_) [[unlikely]] {
      simulation_->surface(failure_);
    }
    if (spawned_) handle().destroy();
  }
  void wake_joiners(bool cancelled) noexcept;

  Simulation* simulation_ = nullptr;
  bool spawned_ = false;
  std::exception_ptr failure_;
  detail::List<JoinAwaiter, detail::JoinTag> joiners_;
};

inline void Process::start(Simulation& simulation) {
  REPREFILL_CHECK(coroutine_, "an empty process was started");
  coroutine_.promise().start(simulation);
}

inline Join Process::join() const {
  REPREFILL_CHECK(coroutine_, "an empty process was joined");
  return Join(&coroutine_.promise());
}

inline JoinAwaiter Process::operator co_await() && {
  REPREFILL_CHECK(coroutine_, "an empty process was awaited");
  return JoinAwaiter(&coroutine_.promise());
}

inline void Simulation::spawn(Process process) {
  process.start(*this);
  Process::promise_type& promise = std::exchange(process.coroutine_, nullptr).promise();
  promise.spawned_ = true;
  spawned_.push_back(promise);
}

inline bool JoinAwaiter::await_ready() {
  if (!process_->handle().done()) return false;
  failure_ = process_->failure_;
  return true;
}

template <typename Promise>
void JoinAwaiter::await_suspend(std::coroutine_handle<Promise> waiting) {
  if constexpr (detail::KnowsSimulation<Promise>) {
    if (!process_->started()) process_->start(waiting.promise().simulation());
  }
  REPREFILL_CHECK(process_->started(), "a process was awaited that was not started");
  wakeup_.set_waiting(waiting);
  process_->joiners_.push_back(*this);
}

inline void JoinAwaiter::await_resume() const {
  REPREFILL_CHECK(!cancelled_, "a process was cancelled while another one waited for it");
  if (failure_) [[unlikely]]
    std::rethrow_exception(failure_);
}

}  // namespace reprefill::sim
