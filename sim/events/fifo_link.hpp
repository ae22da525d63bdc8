// A link that carries one transfer after the other, each at full bandwidth.
#pragma once

#include <coroutine>
#include <cstdint>

#include "sim/events/delay.hpp"
#include "sim/events/exact_rate.hpp"
#include "sim/events/simulation.hpp"

namespace reprefill::sim {

/// `co_await link.transfer(Bytes{4096});` Transfers go in the order in which they were awaited. The n-th of a busy
/// period ends when the bytes of all n fit into the time since it began, rounded up once: rounding does not add up.
/// Destroying a process takes its transfer off the link, and the next one starts at once.
class FifoLink {
 public:
  FifoLink(Simulation& simulation, BytesPerSecond bandwidth) : simulation_(simulation), rate_(bandwidth) {}
  FifoLink(const FifoLink&) = delete;
  FifoLink& operator=(const FifoLink&) = delete;
  /// Transfers that are not done never end.
  ~FifoLink();

  class Awaiter;
  class Transfer;
  [[nodiscard]] Transfer transfer(Bytes size);
  bool busy() const { return !queue_.empty(); }
  std::size_t num_transfers() const { return queue_.size(); }  // linear

 private:
  struct QueueTag {};
  class EndOfFirst final : public Timer {
   public:
    explicit EndOfFirst(FifoLink& link) : link_(link) {}

   private:
    void fire() override { link_.finish_first(); }
    FifoLink& link_;
  };

  void join(Awaiter& transfer);
  void leave(Awaiter& transfer) noexcept;
  void begin_busy_period();
  void start_first();
  void finish_first();

  Simulation& simulation_;
  ExactRate rate_;
  detail::List<Awaiter, QueueTag> queue_;  // the first one is on the link
  EndOfFirst end_of_first_{*this};
  Nanoseconds busy_since_{0};
  unsigned __int128 busy_bytes_ = 0;  // of this busy period, up to and including the first in the queue
};

class FifoLink::Awaiter : public detail::ListHook<QueueTag> {
 public:
  Awaiter(FifoLink& link, Bytes size) : link_(link), size_(size) {}
  Awaiter(const Awaiter&) = delete;
  Awaiter& operator=(const Awaiter&) = delete;
  ~Awaiter() {
    if (is_linked()) link_.leave(*this);
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    wakeup_.set_waiting(waiting);
    link_.join(*this);
  }
  void await_resume() const noexcept {}

 private:
  friend class FifoLink;
  FifoLink& link_;
  Bytes size_;
  Wakeup wakeup_;
};

class FifoLink::Transfer {
 public:
  Transfer(FifoLink& link, Bytes size) : link_(&link), size_(size) {}
  Awaiter operator co_await() const { return Awaiter(*link_, size_); }

 private:
  FifoLink* link_;
  Bytes size_;
};

inline FifoLink::Transfer FifoLink::transfer(Bytes size) { return Transfer(*this, size); }

}  // namespace reprefill::sim
