// Operations: what a pipeline asked of a machine. Owned by reference count; a pipeline awaits one only where the host
// decides, everything else is passed on as a dependency (design 4).
#pragma once

#include <coroutine>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>

#include <boost/container/small_vector.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include "core/base/error.hpp"

namespace reprefill::pipeline {

enum class OpKind : std::uint8_t { read, write, copy, project, score, select, attend, host, first_token };

struct OpContext {
  std::uint32_t request = 0;
  std::int32_t layer_idx = -1;  // -1: belongs to no layer
};

class OpState;
using Op = boost::intrusive_ptr<OpState>;

/// The operations that must be done before another starts. Null and finished ones are allowed and cost nothing.
class Deps {
 public:
  Deps() = default;
  Deps(std::initializer_list<Op> ops) {
    for (const Op& op : ops) add(op);
  }
  Deps(const Op& op) { add(op); }  // NOLINT: one dependency is the common case
  void add(const Op& op);
  void add(const Deps& others) {
    for (const Op& op : others.ops_) add(op);
  }
  auto begin() const { return ops_.begin(); }
  auto end() const { return ops_.end(); }

 private:
  boost::container::small_vector<Op, 3> ops_;
};

/// Common part of an operation's record; each machine adds its own.
class OpState {
 public:
  OpState(OpKind kind, OpContext context) : context_(context), kind_(kind) {}
  OpState(const OpState&) = delete;
  OpState& operator=(const OpState&) = delete;
  virtual ~OpState() = default;

  OpKind kind() const { return kind_; }
  OpContext context() const { return context_; }
  bool done() const { return done_; }

 private:
  friend class MachineCore;
  friend class OpAwaiter;
  friend void intrusive_ptr_add_ref(OpState* state) { ++state->num_references_; }
  friend void intrusive_ptr_release(OpState* state) {
    if (--state->num_references_ == 0) delete state;
  }

  boost::container::small_vector<Op, 2> dependents_;
  OpState* previous_unfinished_ = nullptr;
  OpState* next_unfinished_ = nullptr;
  std::coroutine_handle<> waiter_;
  OpContext context_;
  std::uint32_t num_references_ = 0;
  std::uint32_t num_pending_dependencies_ = 0;
  OpKind kind_;
  bool begun_ = false;
  bool done_ = false;
};

inline void Deps::add(const Op& op) {
  if (op && !op->done()) ops_.push_back(op);
}

/// Suspends one coroutine until the operation is done. The machine resumes it from its ready queue, never from inside
/// the completion, so that completions cannot nest. Destroying the coroutine while it waits withdraws it.
class OpAwaiter {
 public:
  explicit OpAwaiter(Op op) : op_(std::move(op)) {}
  OpAwaiter(const OpAwaiter&) = delete;
  OpAwaiter& operator=(const OpAwaiter&) = delete;
  ~OpAwaiter() {
    if (waiting_) op_->waiter_ = nullptr;
  }
  bool await_ready() const { return op_->done(); }
  void await_suspend(std::coroutine_handle<> coroutine) {
    REPREFILL_CHECK(!op_->waiter_, "an operation has one waiter at most");
    op_->waiter_ = coroutine;
    waiting_ = true;
  }
  void await_resume() { waiting_ = false; }

 private:
  Op op_;
  bool waiting_ = false;
};

}  // namespace reprefill::pipeline

namespace boost {
inline reprefill::pipeline::OpAwaiter operator co_await(const reprefill::pipeline::Op& op) {
  return reprefill::pipeline::OpAwaiter(op);
}
}  // namespace boost
