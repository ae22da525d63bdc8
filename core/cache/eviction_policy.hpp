// The one decision in which caches differ: who leaves a tier, and for whom.
#pragma once

#include <cstdint>

#include "core/cache/piece_table.hpp"

namespace reprefill::cache {

enum class Pinned : std::uint8_t { no, yes };

/// The answer to "may this candidate displace somebody?".
struct Victim {
  enum class Kind : std::uint8_t {
    piece,        // `slot` may leave for the candidate
    none_worse,   // what could leave is worth as much as the candidate, or more
    only_pinned,  // nothing can leave
  };
  Kind kind = Kind::only_pinned;
  SlotIdx slot = kNoSlot;
};

/// When a policy begins to remember a piece, and how many it remembers.
struct StateNeeds {
  enum class Begins : std::uint8_t { on_entry, on_lookup, on_selection };
  Begins begins = Begins::on_entry;       // on_entry: nothing is known of absent pieces
  std::uint64_t score_table_entries = 0;  // limit on pieces with state; resident ones are never dropped
};

/// Orders the unpinned pieces of each tier and decides whether a candidate may displace one. One object serves both
/// tiers of a cache, because what a policy knows of a piece goes with it from tier to tier. Told of every change; O(log
/// n) amortised per call. It has no scalar worth in its interface: S3-FIFO, ARC or Belady have none. Contract: never
/// proposes a pinned piece; looks at no clock, address or hash; touches nothing but its own state.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  virtual StateNeeds state_needs() const { return {}; }
  /// The slot now belongs to this absent piece, of which nothing is known. Slots count up from 0 and are used again.
  virtual void begin(SlotIdx, PieceKey) = 0;

  virtual void on_selected(SlotIdx, double /*importance*/) {}
  virtual void on_lookup(SlotIdx) {}
  /// Loaded from SSD, before it is decided whether it enters a tier.
  virtual void on_loaded(SlotIdx) {}
  /// It left the last tier that held it; `on_leave` came before.
  virtual void on_dropped(SlotIdx) {}

  virtual void on_enter(Tier, SlotIdx, Pinned) = 0;
  /// The piece leaves the tier, whether as a victim or by promotion.
  virtual void on_leave(Tier, SlotIdx) = 0;
  /// The first pin is set; the last is taken off.
  virtual void on_pin(Tier, SlotIdx) = 0;
  virtual void on_unpin(Tier, SlotIdx) = 0;

  /// The next piece to leave for `candidate`, taken out of the order. It then either leaves or is put back; several
  /// that are put back come in reverse order.
  virtual Victim pop_victim(Tier, SlotIdx candidate) = 0;
  virtual void put_back(Tier, SlotIdx victim) = 0;
};

}  // namespace reprefill::cache
