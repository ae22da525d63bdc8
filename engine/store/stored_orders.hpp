// Where all tokens of a reordered layout lie: for whoever follows a store's reads without making them.
#pragma once

#include "engine/store/store.hpp"
#include "engine/store/token_orders.hpp"

namespace reprefill::engine {

/// Read once, out of every segment's file.
class StoredOrders {
 public:
  /// Throws ConfigError where the store lacks the layout, StoreDamage where a permutation is damaged.
  StoredOrders(const Store& store, const StoredLayout& layout);

  /// [token] -> place. Valid as long as this.
  std::span<const std::uint32_t> places(SegmentId segment, int layer_idx) const {
    return orders_.at(segment.value)[static_cast<std::size_t>(layer_idx)].place_of();
  }
  /// Whether every segment is ordered by the importance that it had to this many requests.
  bool come_from(std::uint32_t calibration_requests) const;

 private:
  std::vector<TokenOrders> orders_;  // [segment]
  std::vector<std::uint32_t> calibration_requests_;
};

}  // namespace reprefill::engine
