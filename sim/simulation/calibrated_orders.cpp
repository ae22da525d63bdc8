#include "sim/simulation/calibrated_orders.hpp"

#include "core/pipeline/reordering.hpp"

namespace reprefill::sim {
namespace {

/// About 100 MB for prefixes of 6,000 tokens. An order that is asked for again is computed again, the same.
constexpr std::size_t kMaxLayersKept = 4096;

}  // namespace

void CalibratedOrders::note(const pipeline::Request& request) {
  std::vector<SegmentSpan> path;
  for (const SegmentSpan& span : request.stored_prefix) {
    path.push_back(span);
    segments_.try_emplace(span.segment, Stored{.path = path, .task = request.task});
  }
}

std::span<const std::uint32_t> CalibratedOrders::places(SegmentId segment, int layer_idx) {
  const LayerKey key{segment, layer_idx};
  if (const auto known = places_.find(key); known != places_.end()) return known->second;
  if (places_.size() == kMaxLayersKept) {
    places_.erase(oldest_.front());
    oldest_.pop_front();
  }
  oldest_.push_back(key);
  return places_.emplace(key, calibrate(segments_.at(segment), layer_idx)).first->second;
}

std::vector<std::uint32_t> CalibratedOrders::calibrate(const Stored& stored, int layer_idx) const {
  const SegmentSpan& own = stored.path.back();
  const layout::TokenOrder order = pipeline::calibrated_order(
      importance_, pipeline::make_calibration_requests(stored.task, stored.path, num_requests_), own.segment,
      own.num_tokens, layer_idx);
  return {order.place_of().begin(), order.place_of().end()};
}

}  // namespace reprefill::sim
