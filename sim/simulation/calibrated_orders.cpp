#include "sim/simulation/calibrated_orders.hpp"

#include "core/base/random.hpp"
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
  constexpr traces::HeadGrouping kGrouping = traces::HeadGrouping::probe_heads;
  pipeline::Scores scores;
  scores.num_groups = importance_.num_groups(kGrouping);
  scores.num_units = traces::num_units(stored.path, 1);
  scores.values.resize(static_cast<std::size_t>(scores.num_groups) * scores.num_units);
  const std::uint32_t num_tokens = stored.path.back().num_tokens;
  pipeline::MeanImportance mean(num_tokens);
  for (std::uint32_t i = 0; i < num_requests_; ++i) {
    importance_.unit_scores({.request = combine64(hash_name("calibration"), i),
                             .task = stored.task,
                             .prefix = stored.path,
                             .layer_idx = layer_idx,
                             .grouping = kGrouping},
                            1, scores.values);
    mean.add(scores, scores.num_units - num_tokens, num_tokens);
  }
  const layout::TokenOrder order = mean.order();
  return {order.place_of().begin(), order.place_of().end()};
}

}  // namespace reprefill::sim
