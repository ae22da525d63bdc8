// A map from block ids to values, fast for the small consecutive ids that traces use and correct for any others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

namespace reprefill::traces::detail {

/// Ids below `dense_limit` index a vector (consecutive ids then share cache lines: this is what lets a reader check
/// every id at hundreds of MB/s); the others, such as 64-bit hashes, go to a hash map. The limit is fixed at
/// construction, from the size of the input, so that one large id cannot ask for more memory than a few times that.
template <typename Value>
class BlockTable {
 public:
  explicit BlockTable(std::uint64_t dense_limit) : dense_limit_(dense_limit) {}

  /// The id's value; default-constructed when the id is new.
  Value& operator[](std::uint64_t id) {
    if (id < dense_.size()) return dense_[id];
    if (id >= dense_limit_) return sparse_[id];
    dense_.resize(std::min<std::uint64_t>(dense_limit_, std::max<std::uint64_t>(id + 1, 2 * dense_.size())));
    return dense_[id];
  }

 private:
  std::uint64_t dense_limit_;
  std::vector<Value> dense_;
  boost::unordered_flat_map<std::uint64_t, Value> sparse_;  // never iterated: its order depends on the hash
};

}  // namespace reprefill::traces::detail
