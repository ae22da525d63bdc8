// The part that every machine shares: dependencies, completion, and the ready queue of coroutines.
#pragma once

#include <coroutine>
#include <cstddef>
#include <vector>

#include "core/pipeline/machine.hpp"

namespace reprefill::pipeline {

/// Counts dependencies down and hands an operation to its machine when the last one is done. Coroutines are resumed
/// from a queue, in the order in which their operations completed, and never from inside a completion: neither chains
/// of finished operations nor long loops of awaits can grow the stack.
class MachineCore : public Machine {
 public:
  MachineCore() = default;
  MachineCore(const MachineCore&) = delete;
  MachineCore& operator=(const MachineCore&) = delete;
  /// Operations that never finished are let go; their dependents never begin.
  ~MachineCore() override;

  /// Resumes every coroutine that became ready; afterwards none is.
  void resume_ready();
  bool has_ready() const { return next_ready_ < ready_.size(); }
  /// Operations issued and not done.
  std::size_t num_unfinished() const { return num_unfinished_; }

 protected:
  /// Takes over a new operation: begins it at once when nothing is pending.
  void issue(const Op& op, const Deps& deps);
  /// The machine calls this when the operation's work is over.
  void complete(OpState& op);
  /// Dependencies are done, or in order: queue on a device, or run.
  virtual void begin(OpState& op) = 0;
  /// From now on operations may begin behind others that are not done: `keeps_order` says which.
  void begin_in_order() { begins_in_order_ = true; }
  /// Whether `op` may begin as soon as `dependency` has begun: the device keeps the order of the two. Asked for each
  /// pair once, when `dependency` has begun and is not done.
  virtual bool keeps_order(const OpState& dependency, OpState& op);

 private:
  struct Ready {
    Op op;  // keeps the record alive: its waiter may be withdrawn until the coroutine is resumed
  };
  void start(OpState& op);
  void release_followers(OpState& op);
  void link_unfinished(OpState& op);
  void unlink_unfinished(OpState& op);

  std::vector<Ready> ready_;
  std::vector<Op> to_start_;  // while something starts: chains of followers must not nest
  bool is_starting_ = false;
  bool begins_in_order_ = false;
  std::size_t next_ready_ = 0;
  OpState* first_unfinished_ = nullptr;
  std::size_t num_unfinished_ = 0;
};

}  // namespace reprefill::pipeline
