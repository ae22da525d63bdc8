// The events that lie in the future: a heap ordered by (time, sequence) whose entries know their timers.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::sim {

class Timer;

namespace detail {

/// A 4-ary heap: half the depth of a binary one, and four children share two cache lines. Each entry's place is written
/// back to its timer, so that any entry can be removed in O(log n).
///
/// An event that fires usually schedules another one. Hence take_first() leaves its entry at the root, as a hole, and
/// the next push() fills it: one sift down instead of a full removal and a full insertion. The hole's key is not after
/// anything that may be pushed (no event is in the past), so the heap stays in order around it.
class EventHeap {
 public:
  struct Entry {
    std::int64_t time_ns;
    std::uint64_t sequence;
    Timer* timer;

    bool before(const Entry& other) const { return key() < other.key(); }

   private:
    // One 128-bit comparison compiles to no branch; which of two times is smaller cannot be predicted.
    unsigned __int128 key() const {
      return static_cast<unsigned __int128>(static_cast<std::uint64_t>(time_ns)) << 64 | sequence;
    }
  };

  bool empty() const { return entries_.size() == (has_hole_ ? 1u : 0u); }
  /// Call before first_time() and take_first().
  void close_hole() {
    if (has_hole_) remove_root();
  }
  Nanoseconds first_time() const { return Nanoseconds{entries_.front().time_ns}; }
  Timer* take_first() {
    has_hole_ = true;
    return entries_.front().timer;
  }
  inline void push(const Entry& entry);  // in simulation.hpp, which knows timers
  void remove(std::size_t position);
  /// All timers that are scheduled, in no particular order.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (std::size_t i = has_hole_ ? 1 : 0; i < entries_.size(); ++i) visit(*entries_[i].timer);
  }

 private:
  static constexpr std::size_t kArity = 4;

  void remove_root();
  inline void place(std::size_t position, const Entry& entry);
  inline void sift_up(std::size_t position, Entry entry);
  inline void sift_down(std::size_t position, Entry entry);

  std::vector<Entry> entries_;
  bool has_hole_ = false;
};

}  // namespace detail
}  // namespace reprefill::sim
