#include "sim/events/resource.hpp"

namespace reprefill::sim {

void detail::ResourceState::grant() noexcept {
  while (!waiting.empty() && waiting.front().units_ <= num_free) {
    ResourceWaiter& next = waiting.front();
    waiting.pop_front();
    num_free -= next.units_;
    next.granted_ = true;
    simulation.wake(next.wakeup_);
  }
}

void detail::ResourceState::abandon() noexcept {
  waiting.clear();
  abandoned = true;
  if (num_free == capacity) delete this;
}

void detail::ResourceState::withdraw(ResourceWaiter& waiter) noexcept {
  if (waiter.granted_) {
    give_back(waiter.units_);
  } else {
    waiter.unlink();
    grant();  // it may have held up those behind it
  }
}

void detail::ResourceState::check_request(std::uint64_t units) const {
  REPREFILL_CHECK(units >= 1 && units <= capacity, "{} units were asked of a resource that has {}", units, capacity);
}

Resource::Resource(Simulation& simulation, std::uint64_t capacity)
    : state_(new detail::ResourceState(simulation, capacity)) {}

std::optional<Lease> Resource::try_acquire(std::uint64_t units) {
  state_->check_request(units);
  if (!state_->try_take(units)) return std::nullopt;
  return Lease(state_, units);
}

}  // namespace reprefill::sim
