// A link whose bandwidth all transfers on it share equally.
#pragma once

#include <bit>
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

/// Processor sharing: of n transfers each gets 1/n of the bandwidth at every moment. A transfer leaves the link when
/// its last byte has arrived, which may be within a nanosecond, and its process goes on at the next whole one: rounding
/// does not add up, and no bandwidth is lost.
///
/// Every transfer on the link gets the same service in the same time; hence the link keeps one running total of it, and
/// a transfer is done when the total has grown by the service that it needs. O(log n) per arrival, end and
/// cancellation. The total is a whole number of very small units. Where a share is not, less than a unit per transfer
/// is rounded; a transfer that lacks less than 2^-40 bytes has arrived. Destroying a process takes its transfer off the
/// link.
class SharedLink {
 public:
  SharedLink(Simulation& simulation, BytesPerSecond bandwidth)
      : simulation_(simulation), rate_(bandwidth), unit_(kShares << (30 - std::bit_width(rate_.ns()))) {}
  SharedLink(const SharedLink&) = delete;
  SharedLink& operator=(const SharedLink&) = delete;
  /// Transfers that are not done never end.
  ~SharedLink();

  class Awaiter;
  class Transfer;
  /// At most 2^40 bytes.
  [[nodiscard]] Transfer transfer(Bytes size);
  std::size_t num_transfers() const { return transfers_.size(); }

 private:
  /// One byte is `rate_.ns() * unit_`, between 2^76 and 2^78; full bandwidth gives `rate_.bytes() * unit_` in a
  /// nanosecond.
  using Service = unsigned __int128;
  // lcm(1 .. 32), so that most shares are whole numbers.
  static constexpr Service kShares = 144'403'552'893'600;

  class NextEnd final : public Timer {
   public:
    explicit NextEnd(SharedLink& link) : link_(link) {}

   private:
    void fire() override { link_.fire_next_end(); }
    SharedLink& link_;
  };
  void join(detail::SharedTransfer& transfer);
  void leave(detail::SharedTransfer& transfer) noexcept;
  void advance();
  void rebase();
  void plan();
  void fire_next_end();
  void finish_first();
  Service byte() const { return rate_.ns() * unit_; }
  Service service_per_ns() const { return rate_.bytes() * unit_; }
  Service tolerance() const { return byte() >> 40; }

  Simulation& simulation_;
  ExactRate rate_;
  Service unit_;
  // Ties in order of arrival: equal keys are inserted behind each other.
  boost::intrusive::multiset<detail::SharedTransfer, boost::intrusive::key_of_value<detail::SharedTransfer::ByEnd>>
      transfers_;
  Service total_ = 0;  // that each transfer had
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
  // The service that it needs stays below 2^117.
  REPREFILL_CHECK(size.value <= std::uint64_t{1} << 40, "a transfer of {} bytes over a shared link", size.value);
  return Transfer(*this, size);
}

}  // namespace reprefill::sim
