// Units handed out first come, first served: the k servers of a queue, or the slots of a counted buffer.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "sim/events/delay.hpp"
#include "sim/events/simulation.hpp"

namespace reprefill::sim {

namespace detail {

struct WaitingTag {};
class ResourceState;

/// One request that waits for units, or got them and has not been resumed yet.
class ResourceWaiter : public ListHook<WaitingTag> {
 protected:
  explicit ResourceWaiter(ResourceState* state, std::uint64_t units) : state_(state), units_(units) {}
  ~ResourceWaiter() = default;

  friend class ResourceState;
  ResourceState* state_;  // null: the resource is gone
  std::uint64_t units_;
  bool granted_ = false;
  Wakeup wakeup_;
};

/// What a resource and its leases share. Outlives the resource while leases are out, so that a simulation may be torn
/// down in any order.
class ResourceState {
 public:
  ResourceState(Simulation& simulation, std::uint64_t capacity)
      : simulation(simulation), capacity(capacity), num_free(capacity) {}

  bool try_take(std::uint64_t units) {
    if (units > num_free || !waiting.empty()) return false;
    num_free -= units;
    return true;
  }
  void give_back(std::uint64_t units) noexcept {
    num_free += units;
    if (abandoned) {
      if (num_free == capacity) delete this;
    } else if (!waiting.empty()) {
      grant();
    }
  }
  void grant() noexcept;
  void abandon() noexcept;
  void withdraw(ResourceWaiter& waiter) noexcept;
  void check_request(std::uint64_t units) const;

  Simulation& simulation;
  std::uint64_t capacity;
  std::uint64_t num_free;
  List<ResourceWaiter, WaitingTag> waiting;
  bool abandoned = false;
};

}  // namespace detail

/// Owns units of a resource and gives them back when destroyed.
class [[nodiscard]] Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept : state_(std::exchange(other.state_, nullptr)), units_(other.units_) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      release();
      state_ = std::exchange(other.state_, nullptr);
      units_ = other.units_;
    }
    return *this;
  }
  ~Lease() { release(); }

  explicit operator bool() const { return state_ != nullptr; }
  std::uint64_t units() const { return state_ != nullptr ? units_ : 0; }
  void release() noexcept {
    if (state_ != nullptr) std::exchange(state_, nullptr)->give_back(units_);
  }

 private:
  friend class Acquire;
  friend class Resource;
  Lease(detail::ResourceState* state, std::uint64_t units) : state_(state), units_(units) {}
  detail::ResourceState* state_ = nullptr;
  std::uint64_t units_ = 0;
};

/// What Resource::acquire() returns. Takes its place in the line when it is awaited.
class Acquire {
 public:
  Acquire(detail::ResourceState& state, std::uint64_t units) : state_(&state), units_(units) {}

  class Awaiter : private detail::ResourceWaiter {
   public:
    Awaiter(detail::ResourceState* state, std::uint64_t units) : ResourceWaiter(state, units) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      if (granted_ || is_linked()) state_->withdraw(*this);
    }
    bool await_ready() {
      granted_ = state_->try_take(units_);
      return granted_;
    }
    void await_suspend(std::coroutine_handle<> waiting) {
      wakeup_.set_waiting(waiting);
      state_->waiting.push_back(*this);
    }
    Lease await_resume() {
      granted_ = false;
      return Lease(state_, units_);
    }
  };

  Awaiter operator co_await() const { return Awaiter(state_, units_); }

 private:
  detail::ResourceState* state_;
  std::uint64_t units_;
};

/// Nobody overtakes: a request for many units holds up smaller ones behind it until its turn has come.
class Resource {
 public:
  Resource(Simulation& simulation, std::uint64_t capacity);
  Resource(const Resource&) = delete;
  Resource& operator=(const Resource&) = delete;
  /// Those who still wait do so for ever; leases that are out stay valid.
  ~Resource() { state_->abandon(); }

  /// `const Lease lease = co_await resource.acquire();`
  [[nodiscard]] Acquire acquire(std::uint64_t units = 1) {
    if (units - 1 >= state_->capacity) state_->check_request(units);
    return Acquire(*state_, units);
  }
  /// Empty if it would have to wait.
  [[nodiscard]] std::optional<Lease> try_acquire(std::uint64_t units = 1);

  std::uint64_t capacity() const { return state_->capacity; }
  std::uint64_t num_free() const { return state_->num_free; }
  std::uint64_t num_in_use() const { return state_->capacity - state_->num_free; }
  std::size_t num_waiting() const { return state_->waiting.size(); }  // linear

 private:
  detail::ResourceState* state_;
};

}  // namespace reprefill::sim
