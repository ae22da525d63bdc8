#include "engine/store/stored_orders.hpp"

#include <algorithm>

namespace reprefill::engine {

StoredOrders::StoredOrders(const Store& store, const StoredLayout& layout) {
  const std::size_t layout_idx = store.layout_for(layout);
  for (std::uint32_t i = 0; i < store.num_segments(); ++i) {
    const SegmentId segment{i};
    const StoreFile file = store.open_file(segment, layout_idx, DirectIo::off);
    const SegmentHeader header =
        read_header(file, store.manifest(), store.manifest().layouts[layout_idx], store.segment(segment).key);
    calibration_requests_.push_back(header.calibration_requests);
    orders_.push_back(read_token_orders(file, header));
  }
}

bool StoredOrders::come_from(std::uint32_t calibration_requests) const {
  return std::ranges::all_of(calibration_requests_,
                             [&](std::uint32_t requests) { return requests == calibration_requests; });
}

}  // namespace reprefill::engine
