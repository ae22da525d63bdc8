#include "engine/store/calibration.hpp"

#include <map>

namespace reprefill::engine {
namespace {

TokenOrders orders_of(const Store& store, const traces::ImportanceSource& importance,
                      std::span<const pipeline::CalibrationRequest> requests, SegmentId segment) {
  TokenOrders orders;
  for (int layer = 0; layer < static_cast<int>(store.manifest().model.geometry.num_layers); ++layer) {
    orders.push_back(
        pipeline::calibrated_order(importance, requests, segment, store.segment(segment).num_tokens(), layer));
  }
  return orders;
}

}  // namespace

OrderSource orders_from_generator(const Store& store, const traces::ImportanceSource& importance, std::uint32_t count) {
  return [&store, &importance, count](SegmentId segment) {
    constexpr std::uint64_t kTask = 0;  // that of every request which a session serves
    const auto requests = pipeline::make_calibration_requests(kTask, store.path_of(segment), count);
    return orders_of(store, importance, requests, segment);
  };
}

OrderSource orders_from_recording(const Store& store, const traces::ImportanceSource& importance,
                                  std::span<const pipeline::CalibrationRequest> requests, std::uint32_t count,
                                  std::string_view place) {
  std::map<SegmentId, std::vector<pipeline::CalibrationRequest>> on_segment;
  for (const pipeline::CalibrationRequest& request : requests) {
    for (const SegmentSpan& span : request.prefix) {
      std::vector<pipeline::CalibrationRequest>& known = on_segment[span.segment];
      if (known.size() < count) known.push_back(request);
    }
  }
  for (std::uint32_t i = 0; i < store.num_segments(); ++i) {
    const SegmentId segment{i};
    if (on_segment[segment].size() == count) continue;
    throw ConfigError(
        fmt::format("{}: found {} requests on segment {}; expected {}: record more requests on it, or set "
                    "--calibration-requests",
                    place, on_segment[segment].size(), store.segment(segment).key.to_hex(), count));
  }
  return [&store, &importance, on_segment = std::move(on_segment)](SegmentId segment) {
    return orders_of(store, importance, on_segment.at(segment), segment);
  };
}

pipeline::CalibrationRequest calibration_request(const Store& store, std::span<const std::int32_t> prompt_ids,
                                                 std::uint64_t number) {
  pipeline::CalibrationRequest request{.number = number, .task = 0, .prefix = {}};
  if (!prompt_ids.empty()) request.prefix = store.match(prompt_ids.first(prompt_ids.size() - 1));
  return request;
}

void check_probe_groups(const traces::ImportanceSource& importance, const StoredLayout& layout,
                        std::string_view place) {
  const bool has = importance.has_channel(traces::HeadGrouping::probe_heads);
  const std::size_t found =
      has ? static_cast<std::size_t>(importance.num_groups(traces::HeadGrouping::probe_heads)) : 0;
  if (found == layout.probe_heads.size()) return;
  throw ConfigError(fmt::format("{}: found scores of {} probed heads; expected {}, those of layout {}", place, found,
                                layout.probe_heads.size(), layout_name(layout)));
}

}  // namespace reprefill::engine
