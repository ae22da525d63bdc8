#include "sim/events/process.hpp"

namespace reprefill::sim {

void Process::promise_type::wake_joiners(bool cancelled) noexcept {
  while (!joiners_.empty()) {
    JoinAwaiter& joiner = joiners_.front();
    joiners_.pop_front();
    joiner.wake(*simulation_, cancelled, failure_);
  }
}

/// Keeps what the resumed coroutine needs: the process may be gone by then.
void JoinAwaiter::wake(Simulation& simulation, bool cancelled, const std::exception_ptr& failure) {
  cancelled_ = cancelled;
  failure_ = failure;
  simulation.wake(wakeup_);
}

}  // namespace reprefill::sim
