// Short names for cache tests worked out by hand.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/cache/eviction/registry.hpp"
#include "core/cache/tiered_cache.hpp"

namespace reprefill::cache {

inline PieceKey piece(std::uint32_t number) { return PieceKey::make(SegmentId{0}, 0, PieceKind::key_value, number); }

inline Move moved(std::uint32_t number, std::uint64_t bytes, Decision decision) {
  return {piece(number), Bytes{bytes}, decision};
}

inline std::unique_ptr<EvictionPolicy> make_policy(const std::string& name, const Json& params) {
  return make_eviction_policy(name, JsonValue(params, "test"));
}

/// A cache whose pieces are numbers, with the moves of the last call.
struct TestCache {
  TestCache(std::uint64_t gpu_bytes, std::uint64_t host_bytes, const std::string& policy,
            const Json& params = Json::object())
      : cache({.gpu = Bytes{gpu_bytes}, .host = Bytes{host_bytes}}, make_policy(policy, params)) {}

  /// A load that stays pinned.
  std::optional<Tier> load_pinned(std::uint32_t number, std::uint64_t bytes = 10) {
    moves.clear();
    return cache.admit_loaded(piece(number), Bytes{bytes}, moves);
  }
  std::optional<Tier> load(std::uint32_t number, std::uint64_t bytes = 10) {
    const std::optional<Tier> tier = load_pinned(number, bytes);
    if (tier) cache.unpin(piece(number));
    cache.check_invariants();
    return tier;
  }
  /// A miss and the load that follows it.
  std::optional<Tier> miss_and_load(std::uint32_t number, std::uint64_t bytes = 10) {
    if (cache.lookup(piece(number))) throw InvariantError("the test expected a miss");
    return load(number, bytes);
  }
  std::optional<Tier> select_and_load(std::uint32_t number, double importance, std::uint64_t bytes = 10) {
    cache.note_selected(piece(number), importance);
    return miss_and_load(number, bytes);
  }
  /// A look-up whose pin is given back at once.
  std::optional<Tier> hit(std::uint32_t number) {
    const std::optional<Tier> tier = cache.lookup(piece(number));
    if (tier) cache.unpin(piece(number));
    return tier;
  }
  bool promote(std::uint32_t number) {
    moves.clear();
    const bool promoted = cache.try_promote(piece(number), moves);
    cache.check_invariants();
    return promoted;
  }
  std::optional<Tier> where(std::uint32_t number) const { return cache.find(piece(number)); }

  TieredCache cache;
  std::vector<Move> moves;
};

}  // namespace reprefill::cache
