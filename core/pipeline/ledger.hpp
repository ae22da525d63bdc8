// Program-order accounting of bounded memory: who may issue what is decided from what was issued before, never from
// what has completed (design 4).
#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "core/base/units.hpp"
#include "core/pipeline/op.hpp"

namespace reprefill::pipeline {

/// The active KV of one request: reserved when its load is issued, given back by the operation that consumes it.
class WorkspaceLedger {
 public:
  explicit WorkspaceLedger(Bytes capacity) : free_(capacity), capacity_(capacity) {}

  /// Reserves `size`. The load must wait for the returned operations, whose memory it reuses. Nullopt when even all
  /// releases known so far would not free enough: issue the consumers first, then ask again.
  std::optional<Deps> try_reserve(Bytes size) {
    Bytes available = free_;
    std::size_t num_needed = 0;
    while (available < size && num_needed < releases_.size()) available += releases_[num_needed++].second;
    if (available < size) return std::nullopt;
    std::optional<Deps> deps(std::in_place);  // in its place: g++ 12 takes the move of a small_vector for an overflow
    for (; num_needed > 0; --num_needed) {
      deps->add(releases_.front().first);
      free_ += releases_.front().second;
      releases_.pop_front();
    }
    free_ -= size;
    return deps;
  }

  /// Whether try_reserve would find that much.
  bool has_room(Bytes size) const {
    Bytes available = free_;
    for (const auto& [consumer, released] : releases_) available += released;
    return available >= size;
  }

  void release_after(const Op& consumer, Bytes size) { releases_.emplace_back(consumer, size); }
  Bytes capacity() const { return capacity_; }

 private:
  std::deque<std::pair<Op, Bytes>> releases_;
  Bytes free_;
  Bytes capacity_;
};

/// Prefetch is charged at issue; the charge returns where the pieces are consumed or declared wasted.
class PrefetchQuota {
 public:
  explicit PrefetchQuota(Bytes capacity) : free_(capacity) {}
  bool try_charge(Bytes size) {
    if (size > free_) return false;
    free_ -= size;
    return true;
  }
  void give_back(Bytes size) { free_ += size; }

 private:
  Bytes free_;
};

}  // namespace reprefill::pipeline
