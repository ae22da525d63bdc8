#include "core/pipeline/machine_core.hpp"

#include <algorithm>
#include <functional>

namespace reprefill::pipeline {

MachineCore::~MachineCore() {
  while (first_unfinished_ != nullptr) {
    OpState& op = *first_unfinished_;
    unlink_unfinished(op);
    op.dependents_.clear();
    intrusive_ptr_release(&op);
  }
}

void MachineCore::link_unfinished(OpState& op) {
  op.next_unfinished_ = first_unfinished_;
  if (first_unfinished_ != nullptr) first_unfinished_->previous_unfinished_ = &op;
  first_unfinished_ = &op;
}

void MachineCore::unlink_unfinished(OpState& op) {
  (op.previous_unfinished_ != nullptr ? op.previous_unfinished_->next_unfinished_ : first_unfinished_) =
      op.next_unfinished_;
  if (op.next_unfinished_ != nullptr) op.next_unfinished_->previous_unfinished_ = op.previous_unfinished_;
  op.previous_unfinished_ = op.next_unfinished_ = nullptr;
}

void MachineCore::issue(const Op& op, const Deps& deps) {
  ++num_unfinished_;
  for (const Op& dependency : deps) {
    if (dependency->done_ || (begins_in_order_ && dependency->begun_ && keeps_order(*dependency, *op))) continue;
    dependency->dependents_.push_back(op);
    ++op->num_pending_dependencies_;
  }
  // The machine holds a reference of its own until completion, so that a pipeline may let go of what it issued.
  intrusive_ptr_add_ref(op.get());
  link_unfinished(*op);
  if (op->num_pending_dependencies_ == 0) start(*op);
}

bool MachineCore::keeps_order(const OpState&, OpState&) { return false; }

void MachineCore::start(OpState& op) {
  if (!begins_in_order_) return begin(op);
  to_start_.emplace_back(&op);
  if (is_starting_) return;
  is_starting_ = true;
  for (std::size_t next = 0; next < to_start_.size(); ++next) {
    const Op starting = to_start_[next];
    try {
      begin(*starting);
    } catch (...) {
      to_start_.clear();
      is_starting_ = false;
      throw;
    }
    starting->begun_ = true;
    if (!starting->done_) release_followers(*starting);
  }
  to_start_.clear();
  is_starting_ = false;
}

void MachineCore::release_followers(OpState& op) {
  auto& dependents = op.dependents_;
  const auto follows = [&](const Op& dependent) { return keeps_order(op, *dependent); };
  const auto first = std::stable_partition(dependents.begin(), dependents.end(), std::not_fn(follows));
  const std::vector<Op> followers(first, dependents.end());
  dependents.erase(first, dependents.end());
  for (const Op& follower : followers) {
    if (--follower->num_pending_dependencies_ == 0) to_start_.push_back(follower);
  }
}

void MachineCore::complete(OpState& op) {
  REPREFILL_CHECK(!op.done_, "an operation of kind {} completed twice", static_cast<int>(op.kind_));
  const Op keep_alive(&op, /*add_ref=*/false);
  op.done_ = true;
  unlink_unfinished(op);
  --num_unfinished_;
  const auto dependents = std::move(op.dependents_);
  op.dependents_.clear();
  if (op.waiter_) ready_.push_back(Ready{keep_alive});
  for (const Op& dependent : dependents) {
    if (--dependent->num_pending_dependencies_ == 0) start(*dependent);
  }
}

void MachineCore::resume_ready() {
  while (next_ready_ < ready_.size()) {
    const Op op = std::move(ready_[next_ready_++].op);
    if (const std::coroutine_handle<> waiter = std::exchange(op->waiter_, nullptr)) waiter.resume();
  }
  ready_.clear();
  next_ready_ = 0;
}

}  // namespace reprefill::pipeline
