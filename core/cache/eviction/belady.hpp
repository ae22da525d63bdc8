// Belady's rule for a run whose look-ups are known beforehand: who is looked up again last leaves first.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/base/random.hpp"
#include "core/cache/eviction_policy.hpp"

namespace reprefill::cache {

/// All look-ups of a run, in order: 4 bytes each, and 16 for each different piece.
class FutureUses {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  /// The next look-up of the run will be of this piece.
  void add(PieceKey piece);
  /// The run has come to the next look-up of this piece; the result names it.
  std::uint32_t advance(PieceKey piece);
  /// Number of the look-up that follows this one on the same piece, counted over the whole run.
  std::uint64_t next_after(std::uint32_t lookup) const {
    return lookup == kNone || next_[lookup] == kNone ? kNever : next_[lookup];
  }
  std::size_t size() const { return next_.size(); }

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

 private:
  struct Chain {
    std::uint32_t current = kNone;  // the run's latest look-up of the piece
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
  };
  struct Hash {
    using is_avalanching = void;
    std::size_t operator()(PieceKey key) const { return mix64(key.packed); }
  };
  std::vector<std::uint32_t> next_;  // by look-up
  boost::unordered_flat_map<PieceKey, Chain, Hash> chains_;
};

/// A candidate enters a full tier only if it is looked up again before somebody there is. Optimal for one tier of equal
/// pieces without pins; in two tiers the same rule holds in each, which is a reference, not a bound.
std::unique_ptr<EvictionPolicy> make_belady(std::shared_ptr<FutureUses> future);

}  // namespace reprefill::cache
