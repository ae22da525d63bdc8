// The order that a pool's stored tokens have before the run: packed by the mean importance that they have to
// calibration requests, which are none of the run's (semantics 3, `reorder.io: offline`).
#pragma once

#include <deque>
#include <map>

#include "core/pipeline/request.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::sim {

/// One instance per run. Orders are computed when they are asked for.
class CalibratedOrders {
 public:
  CalibratedOrders(const traces::ImportanceSource& importance, std::uint32_t num_requests)
      : importance_(importance), num_requests_(num_requests) {}

  /// The calibration requests of its stored segments are of its task.
  void note(const pipeline::Request& request);
  /// [token] -> place. Valid until the next call.
  std::span<const std::uint32_t> places(SegmentId segment, int layer_idx);

 private:
  struct Stored {
    std::vector<SegmentSpan> path;  // its own tokens last
    std::uint64_t task = 0;
  };
  using LayerKey = std::pair<SegmentId, int>;

  std::vector<std::uint32_t> calibrate(const Stored& stored, int layer_idx) const;

  const traces::ImportanceSource& importance_;
  std::uint32_t num_requests_;
  std::map<SegmentId, Stored> segments_;
  std::map<LayerKey, std::vector<std::uint32_t>> places_;
  std::deque<LayerKey> oldest_;  // what is computed goes in order when there is too much of it
};

}  // namespace reprefill::sim
