#include "sim/events/fifo_link.hpp"

namespace reprefill::sim {

FifoLink::~FifoLink() { queue_.clear(); }

void FifoLink::join(Awaiter& transfer) {
  const bool idle = queue_.empty();
  queue_.push_back(transfer);
  if (idle) begin_busy_period();
}

void FifoLink::leave(Awaiter& transfer) noexcept {
  const bool was_on_link = &transfer == &queue_.front();
  transfer.unlink();
  if (!was_on_link) return;
  end_of_first_.cancel();
  if (!queue_.empty()) begin_busy_period();
}

void FifoLink::begin_busy_period() {
  busy_since_ = simulation_.now();
  busy_bytes_ = 0;
  start_first();
}

void FifoLink::start_first() {
  busy_bytes_ += queue_.front().size_.value;
  simulation_.schedule(end_of_first_, busy_since_ + rate_.time_for(busy_bytes_));
}

void FifoLink::finish_first() {
  Awaiter& done = queue_.front();
  queue_.pop_front();
  if (!queue_.empty()) start_first();
  simulation_.wake(done.wakeup_);
}

}  // namespace reprefill::sim
