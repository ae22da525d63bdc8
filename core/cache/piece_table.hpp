// The pieces that a cache knows something about, each in a numbered slot.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <boost/unordered/unordered_flat_set.hpp>

#include "core/base/random.hpp"
#include "core/cache/decision_log.hpp"
#include "core/model/piece.hpp"

namespace reprefill::cache {

/// Number of a piece's slot while the cache knows it; used again for another piece afterwards. Policies keep their
/// state in vectors by slot, so that one hash look-up serves all of them.
using SlotIdx = std::uint32_t;
inline constexpr SlotIdx kNoSlot = ~SlotIdx{0};
/// Policies pack a slot and a sequence number into one word.
inline constexpr int kSlotBits = 26;

enum class Place : std::uint8_t { gpu, host, absent, unused };
constexpr Place place_in(Tier tier) { return static_cast<Place>(tier); }

/// Slots of resident pieces and, for policies that remember them, of absent ones. Absent slots form a list, the one
/// longest absent and unselected first.
class PieceTable {
 public:
  struct Slot {
    PieceKey key;
    std::uint32_t size_bytes = 0;              // valid while resident; pieces are smaller than 4 GiB
    SlotIdx older = kNoSlot, newer = kNoSlot;  // neighbours while absent
    std::uint16_t num_pins = 0;
    Place place = Place::unused;

    Bytes bytes() const { return Bytes{size_bytes}; }
    bool is_resident() const { return place == Place::gpu || place == Place::host; }
  };

  PieceTable() : index_(0, Hash{&slots_}, Equal{&slots_}) {}
  PieceTable(const PieceTable&) = delete;  // the index points into this table
  PieceTable& operator=(const PieceTable&) = delete;

  SlotIdx find(PieceKey key) const {
    const auto found = index_.find(key);
    return found == index_.end() ? kNoSlot : *found;
  }
  /// A new absent piece, the newest of them.
  SlotIdx create(PieceKey key);
  /// Forgets an absent piece.
  void erase(SlotIdx slot);

  Slot& operator[](SlotIdx slot) { return slots_[slot]; }
  const Slot& operator[](SlotIdx slot) const { return slots_[slot]; }

  void make_resident(SlotIdx slot, Tier tier, Bytes bytes);
  void make_absent(SlotIdx slot);
  /// Makes an absent piece the newest absent one.
  void touch_absent(SlotIdx slot);
  SlotIdx oldest_absent() const { return oldest_; }

  std::size_t size() const { return index_.size(); }
  /// Slots ever used at once; walk [0, capacity) and skip Place::unused.
  std::size_t num_slots() const { return slots_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    using is_avalanching = void;
    const std::vector<Slot>* slots;
    std::size_t operator()(PieceKey key) const { return mix64(key.packed); }
    std::size_t operator()(SlotIdx slot) const { return mix64((*slots)[slot].key.packed); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<Slot>* slots;
    bool operator()(SlotIdx a, SlotIdx b) const { return a == b; }  // a piece has one slot
    bool operator()(PieceKey key, SlotIdx slot) const { return (*slots)[slot].key == key; }
    bool operator()(SlotIdx slot, PieceKey key) const { return (*slots)[slot].key == key; }
  };

  void link_newest(SlotIdx slot);
  void unlink(SlotIdx slot);

  std::vector<Slot> slots_;
  std::vector<SlotIdx> unused_;
  boost::unordered_flat_set<SlotIdx, Hash, Equal> index_;  // 4 bytes per piece; keys live in the slots
  SlotIdx oldest_ = kNoSlot;
  SlotIdx newest_ = kNoSlot;
};

}  // namespace reprefill::cache
