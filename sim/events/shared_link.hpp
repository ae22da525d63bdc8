// A link whose bandwidth all transfers on it share equally.
#pragma once

#include <coroutine>
#include <cstdint>

#include <boost/intrusive/set.hpp>

#include "sim/events/delay.hpp"
#include "sim/events/exact_rate.hpp"
#include "sim/events/simulation.hpp"

namespace reprefill::sim {

namespace detail {

/// One transfer as the link sees it.
struct SharedTransfer : boost::intrusive::set_base_hook<> {
  struct ByEnd {
    using type = unsigned __int128;
    const type& operator()(const SharedTransfer& transfer) const { return transfer.ends_at; }
  };

  explicit SharedTransfer(Bytes transfer_size) : size(transfer_size) {}

  Bytes size;
  unsigned __int128 ends_at = 0;  // when the link's total service is this
  Wakeup wakeup;
};

}  // namespace detail

/// Processor sharing: of n transfers each gets 1/n of the bandwidth, from and to the nanosecond at which others come and
/// go. A transfer ends at the first whole nanosecond at which its last byte has arrived.
///
/// Every transfer on the link gets the same service in the same time; hence the link keeps one running total of it, and a
/// transfer is done when the total has grown by the service that it needs. With whole numbers this has no rounding error
/// as long as at most 32 share; with more, shares are rounded down: up to one nanosecond late, never early.
/// O(log n) per arrival, end and cancellation. Destroying a process takes its transfer off the link.
class SharedLink {
 public:
  SharedLink(Simulation& simulation, BytesPerSecond bandwidth) : simulation_(simulation), rate_(bandwidth) {}
  SharedLink(const SharedLink&) = delete;
  SharedLink& operator=(const SharedLink&) = delete;
  /// Transfers that are not done never end.
  ~SharedLink();

  class Awaiter;
  class Transfer;
  /// At most 2^44 bytes.
  [[nodiscard]] Transfer transfer(Bytes size);
  std::size_t num_transfers() const { return transfers_.size(); }

 private:
  /// Of service: full bandwidth during one nanosecond is `rate_.bytes() * kUnit`, one byte is `rate_.ns() * kUnit`.
  using Service = unsigned __int128;
  // lcm(1 .. 32): equal shares of up to 32 are whole numbers.
  static constexpr std::uint64_t kUnit = 144'403'552'893'600;

  class NextEnd final : public Timer {
   public:
    explicit NextEnd(SharedLink& link) : link_(link) {}

   private:
    void fire() override { link_.finish_some(); }
    SharedLink& link_;
  };
  void join(detail::SharedTransfer& transfer);
  void leave(detail::SharedTransfer& transfer) noexcept;
  void advance();
  void plan();
  void finish_some();
  Service service_per_ns() const { return Service{rate_.bytes()} * (kUnit / transfers_.size()); }

  Simulation& simulation_;
  ExactRate rate_;
  // Ties in order of arrival: equal keys are inserted behind each other.
  boost::intrusive::multiset<detail::SharedTransfer,
                             boost::intrusive::key_of_value<detail::SharedTransfer::ByEnd>> transfers_;
  Service total_ = 0;
  Nanoseconds total_at_{0};
  NextEnd next_end_{*this};
};

class SharedLink::Awaiter : private detail::SharedTransfer {
 public:
  Awaiter(SharedLink& link, Bytes size) : SharedTransfer(size), link_(link) {}
  Awaiter(const Awaiter&) = delete;
  Awaiter& operator=(const Awaiter&) = delete;
  ~Awaiter() {
    if (is_linked()) link_.leave(*this);
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    wakeup.set_waiting(waiting);
    link_.join(*this);
  }
  void await_resume() const noexcept {}

 private:
  SharedLink& link_;
};

class SharedLink::Transfer {
 public:
  Transfer(SharedLink& link, Bytes size) : link_(&link), size_(size) {}
  Awaiter operator co_await() const { return Awaiter(*link_, size_); }

 private:
  SharedLink* link_;
  Bytes size_;
};

inline SharedLink::Transfer SharedLink::transfer(Bytes size) {
  // size * ns * kUnit stays below 2^(44 + 30 + 48).
  REPREFILL_CHECK(size.value <= std::uint64_t{1} << 44, "a transfer of {} bytes over a shared link", size.value);
  return Transfer(*this, size);
}

}  // namespace reprefill::sim
