#include "sim/events/shared_link.hpp"

namespace reprefill::sim {

SharedLink::~SharedLink() { transfers_.clear(); }

void SharedLink::join(detail::SharedTransfer& transfer) {
  advance();
  transfer.ends_at = total_ + Service{transfer.size.value} * rate_.ns() * kUnit;
  transfers_.insert(transfer);
  plan();
}

void SharedLink::leave(detail::SharedTransfer& transfer) noexcept {
  advance();
  transfers_.erase(transfers_.iterator_to(transfer));
  plan();
}

/// Books the service since the number of transfers last changed.
void SharedLink::advance() {
  if (!transfers_.empty()) {
    total_ += Service(static_cast<std::uint64_t>((simulation_.now() - total_at_).value)) * service_per_ns();
  }
  total_at_ = simulation_.now();
  // Only differences count: taking the same from all keeps them, and their order, while the numbers stay small.
  constexpr Service kRebase = Service{1} << 124;
  if (transfers_.empty()) {
    total_ = 0;
  } else if (total_ >= kRebase) {
    for (detail::SharedTransfer& transfer : transfers_) transfer.ends_at -= kRebase;
    total_ -= kRebase;
  }
}

void SharedLink::plan() {
  if (transfers_.empty()) {
    next_end_.cancel();
    return;
  }
  const Service first_end = transfers_.begin()->ends_at;
  const Service left = first_end > total_ ? first_end - total_ : 0;
  const Service per_ns = service_per_ns();
  const auto wait_ns = static_cast<std::int64_t>((left + per_ns - 1) / per_ns);
  simulation_.schedule(next_end_, simulation_.now() + Nanoseconds{wait_ns});
}

void SharedLink::finish_some() {
  advance();
  while (!transfers_.empty() && transfers_.begin()->ends_at <= total_) {
    detail::SharedTransfer& done = *transfers_.begin();
    transfers_.erase(transfers_.begin());
    simulation_.wake(done.wakeup);
  }
  plan();
}

}  // namespace reprefill::sim
