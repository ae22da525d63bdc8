// Which pieces are in GPU and host memory. Every decision falls in program order, at issue (design 4): this class knows
// no time and moves no data.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "core/cache/decision_log.hpp"
#include "core/cache/eviction_policy.hpp"
#include "core/cache/piece_table.hpp"

namespace reprefill::cache {

struct TierCapacities {
  Bytes gpu;
  Bytes host;
};

struct TierStatistics {
  std::uint64_t hits = 0;
  Bytes hit_bytes;
  std::uint64_t entered = 0;  // loads from SSD that entered here
  Bytes entered_bytes;
  std::uint64_t dropped = 0;
  Bytes dropped_bytes;
};

struct CacheStatistics {
  std::uint64_t lookups = 0;
  std::uint64_t misses = 0;
  std::array<TierStatistics, kNumTiers> tiers;  // by index_of(Tier)
  std::uint64_t loads = 0;  // from SSD; = entered GPU + entered host + bypasses + loads of what was there already
  Bytes load_bytes;
  std::uint64_t promotions = 0;
  Bytes promoted_bytes;
  std::uint64_t demotions = 0;
  Bytes demoted_bytes;
  std::uint64_t bypasses = 0;
  Bytes bypassed_bytes;
  std::uint64_t bypasses_pinned = 0;     // of them: in some tier nothing could leave because of pins
  std::uint64_t bypasses_too_large = 0;  // of them: larger than both tiers
  std::uint64_t states_dropped = 0;      // the score table was full

  const TierStatistics& operator[](Tier tier) const { return tiers[index_of(tier)]; }
};

/// A GPU and a host tier of stated capacities in bytes. A piece is in one of them or in none; the SSD always has it, so
/// leaving costs no write. A capacity of 0 is legal (a one-tier cache, or none at all).
///
/// The rule by which a piece enters a tier, the same for loads, promotions and demotions [ref 3.1, 3.2]: it enters if
/// there is room; else the policy proposes victims, each worth less than the candidate, until there is. Either all of
/// them leave, or, if one is not worth less or only pinned pieces remain, none does and the candidate is refused. What
/// leaves the GPU tier, in the order in which it was proposed, tries the host tier by this rule and is dropped
/// otherwise.
///
/// Pinned pieces never leave, but may be promoted with their pins.
class TieredCache {
 public:
  TieredCache(TierCapacities capacities, std::unique_ptr<EvictionPolicy> policy);

  /// Where the piece is; changes nothing.
  std::optional<Tier> find(PieceKey key) const;

  /// A request selected this piece: attention_guided adds `importance` (>= 0) to I, importance_frequency counts an
  /// access with this important share, the others take no notice. To be called before look-up, in program order.
  void note_selected(PieceKey key, double importance);

  /// Notes the access and counts it. What is resident gets a pin, which the caller gives back with `unpin`.
  std::optional<Tier> lookup(PieceKey key);

  /// The load of this piece from SSD is issued: decides where it enters (GPU, else host, else nothing: a bypass) and
  /// appends the moves in the order of decision. What entered has one pin of the caller. A piece that another request
  /// brought in meanwhile stays where it is and gets the pin. With `best` = host the GPU tier is left alone.
  std::optional<Tier> admit_loaded(PieceKey key, Bytes bytes, std::vector<Move>& moves, Tier best = Tier::gpu);

  /// A host hit is copied to the workspace: tries the GPU tier, and leaves the host tier when it enters.
  bool try_promote(PieceKey key, std::vector<Move>& moves);

  /// The piece's bytes on the SSD are others now: what is resident of it goes nowhere. Never while it is pinned.
  void discard(PieceKey key, std::vector<Move>& moves);
  bool is_pinned(PieceKey key) const;

  /// Gives back one pin.
  void unpin(PieceKey key);

  Bytes capacity(Tier tier) const { return tiers_[index_of(tier)].capacity; }
  Bytes resident_bytes(Tier tier) const { return tiers_[index_of(tier)].used; }
  std::uint64_t resident_entries(Tier tier) const { return tiers_[index_of(tier)].num_entries; }
  /// resident / capacity, in [0, 1]; 1 for a tier of capacity 0.
  double fill(Tier tier) const;
  /// Whether a piece ever found too little room here: "full" for the warm-up rule, since sizes need not divide the
  /// capacity. Always true for a tier of capacity 0.
  bool has_been_full(Tier tier) const { return tiers_[index_of(tier)].has_been_full; }
  /// Pieces with a slot: resident, or remembered by the policy.
  std::size_t num_known_pieces() const { return table_.size(); }

  const CacheStatistics& statistics() const { return statistics_; }
  void reset_statistics() { statistics_ = {}; }
  /// Records every decision from now on; nullptr ends it. Not owned.
  void set_decision_log(DecisionLog* log) { log_ = log; }

  /// Counts everything again, O(n); InvariantError where it does not add up. For tests and runs with checks on.
  void check_invariants() const;

 private:
  struct TierState {
    Bytes capacity;
    Bytes used;
    std::uint64_t num_entries = 0;
    bool has_been_full = false;
    std::vector<SlotIdx> victims;  // of the decision in progress
  };
  enum class Room : std::uint8_t { made, none_worse, only_pinned, too_large };

  SlotIdx create(PieceKey key);
  void drop_oldest_state();
  Room choose_victims(Tier tier, SlotIdx candidate, Bytes bytes);
  void evict_victims(Tier tier, std::vector<Move>& moves);
  void demote_or_drop(SlotIdx slot, std::vector<Move>& moves);
  void enter(Tier tier, SlotIdx slot, Bytes bytes);
  void leave(Tier tier, SlotIdx slot);
  void forget_unless_remembered(SlotIdx slot);
  void pin(SlotIdx slot);
  void count_bypass(Bytes bytes, Room gpu, Room host);
  void drop(Tier tier, SlotIdx slot, std::vector<Move>& moves);
  void move(std::vector<Move>& moves, SlotIdx slot, Bytes bytes, Decision decision);
  void record(PieceKey key, Bytes bytes, Decision decision);
  TierState& state_of(Tier tier) { return tiers_[index_of(tier)]; }
  TierStatistics& statistics_of(Tier tier) { return statistics_.tiers[index_of(tier)]; }

  std::unique_ptr<EvictionPolicy> policy_;
  StateNeeds needs_;
  PieceTable table_;
  std::array<TierState, kNumTiers> tiers_;
  CacheStatistics statistics_;
  DecisionLog* log_ = nullptr;
};

}  // namespace reprefill::cache
