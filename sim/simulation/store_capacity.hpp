// A store of finite size: who leaves it for a new segment.
#pragma once

#include <map>
#include <set>
#include <span>
#include <vector>

#include "core/base/units.hpp"
#include "core/cache/segment_tree.hpp"

namespace reprefill::sim {

/// Leaf first, least recently used: a segment leaves only when nothing extends it and no request in flight uses it.
/// What the tiers hold of it is not found again and ages out. O(log n) per segment of a request.
class StoreCapacity {
 public:
  /// 0: no limit.
  explicit StoreCapacity(Bytes capacity) : capacity_(capacity) {}

  /// The request uses the segments of its path, all from the root on.
  void begin_use(std::uint64_t request, std::span<const SegmentSpan> path);
  /// Removes segments from the tree until `size` more bytes fit. False: too little can leave, and nothing has left.
  bool make_room(Bytes size, cache::SegmentTree& tree);
  /// A new segment, used by the request that stores it.
  void add(std::uint64_t request, SegmentId segment, Bytes size);
  void end_use(std::uint64_t request, const cache::SegmentTree& tree);

  Bytes used() const { return used_; }
  std::uint64_t num_removed() const { return num_removed_; }
  std::uint64_t num_refused() const { return num_refused_; }

 private:
  struct Stored {
    Bytes bytes;
    std::uint64_t last_use = 0;
    std::uint32_t num_users = 0;
  };
  void use(std::uint64_t request, SegmentId segment);
  void offer(SegmentId segment, const cache::SegmentTree& tree);
  Bytes removable() const;

  Bytes capacity_;
  Bytes used_;
  std::vector<Stored> segments_;                                 // by number
  std::set<std::pair<std::uint64_t, std::uint32_t>> may_leave_;  // (last use, segment): unused leaves
  std::map<std::uint64_t, std::vector<SegmentId>> used_by_;      // requests in flight
  std::uint64_t num_uses_ = 0;
  std::uint64_t num_removed_ = 0;
  std::uint64_t num_refused_ = 0;
};

}  // namespace reprefill::sim
