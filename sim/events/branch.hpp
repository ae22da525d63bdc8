// How all_of and any_of wait: each thing waited for is awaited by a small coroutine of its own, a branch. Cancelling it
// is destroying it.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "sim/events/process.hpp"

namespace reprefill::sim::detail {

template <typename Awaitable>
decltype(auto) awaiter_of(Awaitable&& awaitable) {
  if constexpr (requires { std::forward<Awaitable>(awaitable).operator co_await(); }) {
    return std::forward<Awaitable>(awaitable).operator co_await();
  } else {
    return std::forward<Awaitable>(awaitable);
  }
}

template <typename Awaitable>
using AwaitedResult = decltype(awaiter_of(std::declval<Awaitable>()).await_resume());
template <typename Awaitable>
using AwaitedValue = std::conditional_t<std::is_void_v<AwaitedResult<Awaitable>>, std::monostate,
                                        std::remove_cvref_t<AwaitedResult<Awaitable>>>;

/// Those who are waited for together. The waiting coroutine is resumed through the ready queue, once.
class BranchGroup {
 public:
  explicit BranchGroup(Simulation& simulation) : simulation_(simulation) {}
  BranchGroup(const BranchGroup&) = delete;
  BranchGroup& operator=(const BranchGroup&) = delete;

  Simulation& simulation() { return simulation_; }
  virtual void on_branch_done(std::size_t index, bool failed) noexcept = 0;

 protected:
  ~BranchGroup() = default;
  bool complete() const { return complete_; }
  void set_complete() {
    complete_ = true;
    if (suspended_) simulation_.wake(wakeup_);
  }
  /// False: all was done already, and the coroutine goes on without being suspended.
  bool suspend(std::coroutine_handle<> waiting) {
    if (complete_) return false;
    wakeup_.set_waiting(waiting);
    suspended_ = true;
    return true;
  }

 private:
  Simulation& simulation_;
  bool complete_ = false;
  bool suspended_ = false;
  Wakeup wakeup_;
};

template <typename Value>
class [[nodiscard]] Branch {
 public:
  class promise_type : public PooledFrame {
   public:
    Branch get_return_object() { return Branch(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct Finish {
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> coroutine) const noexcept {
          promise_type& promise = coroutine.promise();
          promise.group_->on_branch_done(promise.index_, promise.failure_ != nullptr);
        }
        void await_resume() const noexcept {}
      };
      return Finish{};
    }
    void return_value(Value&& value) { value_.emplace(std::move(value)); }
    void unhandled_exception() { failure_ = std::current_exception(); }
    Simulation& simulation() { return group_->simulation(); }

   private:
    friend class Branch;
    BranchGroup* group_ = nullptr;
    std::size_t index_ = 0;
    std::optional<Value> value_;
    std::exception_ptr failure_;
  };

  Branch(Branch&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  ~Branch() { cancel(); }

  /// Runs up to the first suspension at once, so that the branches take their places in queues in order.
  void start(BranchGroup& group, std::size_t index) {
    coroutine_.promise().group_ = &group;
    coroutine_.promise().index_ = index;
    coroutine_.resume();
  }
  void cancel() noexcept {
    if (coroutine_) std::exchange(coroutine_, nullptr).destroy();
  }
  /// Of a branch that is done.
  Value take() {
    rethrow_failure();
    return std::move(*coroutine_.promise().value_);
  }
  void rethrow_failure() const {
    if (coroutine_.promise().failure_) std::rethrow_exception(coroutine_.promise().failure_);
  }

 private:
  explicit Branch(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  std::coroutine_handle<promise_type> coroutine_;
};

template <typename Awaitable>
Branch<AwaitedValue<Awaitable>> run_branch(Awaitable awaitable) {
  if constexpr (std::is_void_v<AwaitedResult<Awaitable>>) {
    co_await std::move(awaitable);
    co_return std::monostate{};
  } else {
    co_return co_await std::move(awaitable);
  }
}

/// A fixed number of branches of different kinds.
template <typename... Values>
class FixedBranches {
 public:
  explicit FixedBranches(Branch<Values>&&... branches) : branches_(std::move(branches)...) {}
  static constexpr std::size_t size() { return sizeof...(Values); }

 protected:
  /// Calls visit(branch, index) in order.
  template <typename Visit>
  void for_each(const Visit& visit) {
    std::apply(
        [&visit](auto&... branch) {
          std::size_t index = 0;
          (visit(branch, index++), ...);
        },
        branches_);
  }
  std::tuple<Branch<Values>...> branches_;
};

class ProcessBranches {
 public:
  explicit ProcessBranches(std::vector<Process>&& processes) {
    branches_.reserve(processes.size());
    for (Process& process : processes) branches_.push_back(run_branch(std::move(process)));
  }
  std::size_t size() const { return branches_.size(); }

 protected:
  template <typename Visit>
  void for_each(const Visit& visit) {
    for (std::size_t i = 0; i < branches_.size(); ++i) visit(branches_[i], i);
  }
  std::vector<Branch<std::monostate>> branches_;
};

template <typename Branches>
class WaitForAll : public BranchGroup, protected Branches {
 public:
  WaitForAll(Simulation& simulation, Branches&& branches)
      : BranchGroup(simulation), Branches(std::move(branches)), num_left_(this->size()) {}

  bool await_ready() const noexcept { return num_left_ == 0; }
  bool await_suspend(std::coroutine_handle<> waiting) {
    this->for_each([this](auto& branch, std::size_t index) {
      if (!complete()) branch.start(*this, index);
    });
    return suspend(waiting);
  }

 protected:
  void rethrow_failure() {
    this->for_each([this](auto& branch, std::size_t index) {
      if (index == failed_) branch.rethrow_failure();
    });
  }

 private:
  void on_branch_done(std::size_t index, bool failed) noexcept override {
    --num_left_;
    if (failed) {
      failed_ = index;
      this->for_each([index](auto& branch, std::size_t other) {
        if (other != index) branch.cancel();
      });
    }
    if (failed || num_left_ == 0) set_complete();
  }

  std::size_t num_left_;
  std::size_t failed_ = ~std::size_t{0};
};

template <typename Branches>
class WaitForAny : public BranchGroup, protected Branches {
 public:
  WaitForAny(Simulation& simulation, Branches&& branches) : BranchGroup(simulation), Branches(std::move(branches)) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) {
    this->for_each([this](auto& branch, std::size_t index) {
      if (!complete()) branch.start(*this, index);
    });
    return suspend(waiting);
  }

 protected:
  std::size_t winner() const { return winner_; }

 private:
  void on_branch_done(std::size_t index, bool) noexcept override {
    winner_ = index;
    this->for_each([index](auto& branch, std::size_t other) {
      if (other != index) branch.cancel();
    });
    set_complete();
  }

  std::size_t winner_ = 0;
};

template <typename... Values>
class AllOf final : public WaitForAll<FixedBranches<Values...>> {
 public:
  using WaitForAll<FixedBranches<Values...>>::WaitForAll;
  std::tuple<Values...> await_resume() {
    this->rethrow_failure();
    return std::apply([](auto&... branch) { return std::tuple<Values...>(branch.take()...); }, this->branches_);
  }
};

template <typename... Values>
class AnyOf final : public WaitForAny<FixedBranches<Values...>> {
 public:
  using WaitForAny<FixedBranches<Values...>>::WaitForAny;
  std::variant<Values...> await_resume() { return take_winner(std::index_sequence_for<Values...>{}); }

 private:
  template <std::size_t... I>
  std::variant<Values...> take_winner(std::index_sequence<I...>) {
    std::optional<std::variant<Values...>> result;
    ((I == this->winner() ? void(result.emplace(std::in_place_index<I>, std::get<I>(this->branches_).take())) : void()),
     ...);
    return std::move(*result);
  }
};

class AllOfProcesses final : public WaitForAll<ProcessBranches> {
 public:
  using WaitForAll<ProcessBranches>::WaitForAll;
  void await_resume() { rethrow_failure(); }
};

class AnyOfProcesses final : public WaitForAny<ProcessBranches> {
 public:
  using WaitForAny<ProcessBranches>::WaitForAny;
  std::size_t await_resume() {
    branches_[winner()].rethrow_failure();
    return winner();
  }
};

/// What all_of and any_of return: may be moved and passed on until it is awaited.
template <typename Awaiter, typename Branches>
class [[nodiscard]] Combination {
 public:
  Combination(Simulation& simulation, Branches&& branches) : simulation_(&simulation), branches_(std::move(branches)) {}
  Awaiter operator co_await() && { return Awaiter(*simulation_, std::move(branches_)); }

 private:
  Simulation* simulation_;
  Branches branches_;
};

}  // namespace reprefill::sim::detail
