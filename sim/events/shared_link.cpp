#include "sim/events/shared_link.hpp"

#include <algorithm>

namespace reprefill::sim {

SharedLink::~SharedLink() { transfers_.clear(); }

void SharedLink::join(detail::SharedTransfer& transfer) {
  advance();
  transfer.ends_at = total_ + transfer.size.value * byte();
  const Service last_end =
      transfers_.empty() ? transfer.ends_at : std::max(transfer.ends_at, transfers_.rbegin()->ends_at);
  // From now on neither factor grows, unless another one joins.
  Service all = 0;
  const bool overflow = __builtin_mul_overflow(last_end - total_, Service{transfers_.size() + 1}, &all);
  REPREFILL_CHECK(!overflow, "{} transfers are too many for sizes as large as these", transfers_.size() + 1);
  transfers_.insert(transfer);
  plan();
}

void SharedLink::leave(detail::SharedTransfer& transfer) noexcept {
  advance();
  if (transfer.is_linked()) {
    transfers_.erase(transfers_.iterator_to(transfer));
    rebase();
  }
  plan();
}

/// Books the service since the last change, and ends the transfers that got all they need.
void SharedLink::advance() {
  const auto elapsed_ns = static_cast<std::uint64_t>((simulation_.now() - total_at_).value);
  total_at_ = simulation_.now();
  if (transfers_.empty()) return;
  Service link_service = elapsed_ns * service_per_ns();
  // Those who leave within the last nanosecond leave their shares to the others from then on.
  while (!transfers_.empty()) {
    const Service for_first = (transfers_.begin()->ends_at - total_) * transfers_.size();
    if (for_first > link_service) break;
    link_service -= for_first;
    total_ = transfers_.begin()->ends_at;
    finish_first();
  }
  if (!transfers_.empty()) {
    total_ += link_service / transfers_.size();
    while (!transfers_.empty() && transfers_.begin()->ends_at - total_ < tolerance()) finish_first();
  }
  rebase();
}

/// Only differences count: taking the same from all keeps them, and their order, while the numbers stay small.
void SharedLink::rebase() {
  constexpr Service kLarge = Service{1} << 120;
  if (transfers_.empty()) {
    total_ = 0;
  } else if (total_ >= kLarge) {
    for (detail::SharedTransfer& transfer : transfers_) transfer.ends_at -= kLarge;
    total_ -= kLarge;
  }
}

void SharedLink::finish_first() {
  detail::SharedTransfer& done = *transfers_.begin();
  transfers_.erase(transfers_.begin());
  simulation_.wake(done.wakeup);
}

void SharedLink::plan() {
  if (transfers_.empty()) {
    next_end_.cancel();
    return;
  }
  const Service left = transfers_.begin()->ends_at - total_;
  const Service needed = left < tolerance() ? 0 : (left - tolerance() + 1) * transfers_.size();
  const Service per_ns = service_per_ns();
  // Not needed + per_ns - 1, which could overflow.
  const auto wait_ns = static_cast<std::int64_t>(needed / per_ns + (needed % per_ns != 0 ? 1 : 0));
  simulation_.schedule(next_end_, simulation_.now() + Nanoseconds{wait_ns});
}

void SharedLink::fire_next_end() {
  advance();
  plan();
}

}  // namespace reprefill::sim
