#include "sim/simulation/store_capacity.hpp"

#include "core/base/error.hpp"

namespace reprefill::sim {

void StoreCapacity::begin_use(std::uint64_t request, std::span<const SegmentSpan> path) {
  if (capacity_.value == 0) return;
  for (const SegmentSpan& span : path) use(request, span.segment);
}

void StoreCapacity::use(std::uint64_t request, SegmentId segment) {
  Stored& stored = segments_[segment.value];
  may_leave_.erase({stored.last_use, segment.value});
  stored.last_use = ++num_uses_;
  ++stored.num_users;
  used_by_[request].push_back(segment);
}

bool StoreCapacity::make_room(Bytes size, cache::SegmentTree& tree) {
  if (capacity_.value == 0 || used_ + size <= capacity_) return true;
  if (size > capacity_ || used_ + size > capacity_ + removable()) {
    ++num_refused_;
    return false;
  }
  while (used_ + size > capacity_) {
    const SegmentId leaving{may_leave_.begin()->second};
    may_leave_.erase(may_leave_.begin());
    const std::optional<SegmentId> parent = tree.info(leaving).parent;
    tree.remove_leaf(leaving);
    used_ -= segments_[leaving.value].bytes;
    segments_[leaving.value].bytes = Bytes{0};
    ++num_removed_;
    if (parent) offer(*parent, tree);
  }
  return true;
}

/// Everything but the paths in use, which hold all ancestors of what is used: the rest can leave, leaf by leaf.
Bytes StoreCapacity::removable() const {
  std::set<std::uint32_t> kept;
  for (const auto& [request, segments] : used_by_) {
    for (const SegmentId segment : segments) kept.insert(segment.value);
  }
  Bytes bytes = used_;
  for (const std::uint32_t segment : kept) bytes -= segments_[segment].bytes;
  return bytes;
}

void StoreCapacity::add(std::uint64_t request, SegmentId segment, Bytes size) {
  if (capacity_.value == 0) return;
  if (segment.value >= segments_.size()) segments_.resize(segment.value + 1);
  segments_[segment.value].bytes = size;
  used_ += size;
  REPREFILL_CHECK(used_ <= capacity_, "the store holds {} of {} bytes", used_.value, capacity_.value);
  use(request, segment);
}

void StoreCapacity::end_use(std::uint64_t request, const cache::SegmentTree& tree) {
  const auto found = used_by_.find(request);
  if (found == used_by_.end()) return;
  const std::vector<SegmentId> segments = std::move(found->second);
  used_by_.erase(found);
  for (const SegmentId segment : segments) {
    --segments_[segment.value].num_users;
    offer(segment, tree);
  }
}

/// May leave from now on, if nobody uses it and nothing extends it.
void StoreCapacity::offer(SegmentId segment, const cache::SegmentTree& tree) {
  const Stored& stored = segments_[segment.value];
  if (stored.num_users == 0 && tree.is_leaf(segment)) may_leave_.insert({stored.last_use, segment.value});
}

}  // namespace reprefill::sim
