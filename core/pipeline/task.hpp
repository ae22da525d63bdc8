// The coroutine that serves one request.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "core/base/error.hpp"

namespace reprefill::pipeline {

/// Starts suspended; its owner resumes it once, afterwards the machine does. Destroying it at any suspension point is
/// safe: operations it waited for go on without it.
class [[nodiscard]] Task {
 public:
  struct promise_type {
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { failure = std::current_exception(); }
    std::exception_ptr failure;
  };

  Task() = default;
  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      coroutine_ = std::exchange(other.coroutine_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  void start() { coroutine_.resume(); }
  bool done() const { return !coroutine_ || coroutine_.done(); }
  /// Rethrows what the coroutine threw. Call when done.
  void check() const {
    if (coroutine_ && coroutine_.promise().failure) std::rethrow_exception(coroutine_.promise().failure);
  }

 private:
  explicit Task(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  void destroy() {
    if (coroutine_) coroutine_.destroy();
  }
  std::coroutine_handle<promise_type> coroutine_;
};

}  // namespace reprefill::pipeline
