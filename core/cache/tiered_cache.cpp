#include "core/cache/tiered_cache.hpp"

#include <cmath>
#include <limits>

namespace reprefill::cache {
namespace {

std::optional<Tier> tier_of(const PieceTable::Slot& slot) {
  if (!slot.is_resident()) return std::nullopt;
  return slot.place == Place::gpu ? Tier::gpu : Tier::host;
}

}  // namespace

TieredCache::TieredCache(TierCapacities capacities, std::unique_ptr<EvictionPolicy> policy)
    : policy_(std::move(policy)), needs_(policy_->state_needs()) {
  state_of(Tier::gpu).capacity = capacities.gpu;
  state_of(Tier::host).capacity = capacities.host;
  for (TierState& tier : tiers_) tier.has_been_full = tier.capacity == Bytes{0};
}

std::optional<Tier> TieredCache::find(PieceKey key) const {
  const SlotIdx slot = table_.find(key);
  return slot == kNoSlot ? std::nullopt : tier_of(table_[slot]);
}

void TieredCache::note_selected(PieceKey key, double importance) {
  REPREFILL_CHECK(std::isfinite(importance) && importance >= 0, "an importance of {}", importance);
  if (needs_.begins != StateNeeds::Begins::on_selection) return;
  SlotIdx slot = table_.find(key);
  if (slot == kNoSlot) {
    slot = create(key);
  } else if (!table_[slot].is_resident()) {
    table_.touch_absent(slot);
  }
  policy_->on_selected(slot, importance);
}

std::optional<Tier> TieredCache::lookup(PieceKey key) {
  ++statistics_.lookups;
  SlotIdx slot = table_.find(key);
  if (needs_.begins == StateNeeds::Begins::on_lookup) {
    if (slot == kNoSlot) {
      slot = create(key);
    } else if (!table_[slot].is_resident()) {
      table_.touch_absent(slot);
    }
  }
  if (slot != kNoSlot) policy_->on_lookup(slot);
  if (slot == kNoSlot || !table_[slot].is_resident()) {
    ++statistics_.misses;
    record(key, Bytes{0}, Decision::missed);
    return std::nullopt;
  }
  const Tier tier = *tier_of(table_[slot]);
  const Bytes bytes = table_[slot].bytes();
  pin(slot);
  ++statistics_of(tier).hits;
  statistics_of(tier).hit_bytes += bytes;
  record(key, bytes, tier == Tier::gpu ? Decision::hit_gpu : Decision::hit_host);
  return tier;
}

std::optional<Tier> TieredCache::admit_loaded(PieceKey key, Bytes bytes, std::vector<Move>& moves, Tier best) {
  ++statistics_.loads;
  statistics_.load_bytes += bytes;
  SlotIdx slot = table_.find(key);
  if (slot == kNoSlot) slot = create(key);
  policy_->on_loaded(slot);
  if (const std::optional<Tier> already = tier_of(table_[slot])) {
    pin(slot);
    return already;
  }
  std::array<Room, kNumTiers> room{};
  room[index_of(Tier::gpu)] = Room::none_worse;  // unless it is asked
  for (const Tier tier : {Tier::gpu, Tier::host}) {
    if (tier < best) continue;
    room[index_of(tier)] = choose_victims(tier, slot, bytes);
    if (room[index_of(tier)] != Room::made) continue;
    evict_victims(tier, moves);
    table_[slot].num_pins = 1;
    enter(tier, slot, bytes);
    ++statistics_of(tier).entered;
    statistics_of(tier).entered_bytes += bytes;
    move(moves, slot, bytes, tier == Tier::gpu ? Decision::entered_gpu : Decision::entered_host);
    return tier;
  }
  count_bypass(bytes, room[0], room[1]);
  move(moves, slot, bytes, Decision::bypassed);
  forget_unless_remembered(slot);
  return std::nullopt;
}

bool TieredCache::try_promote(PieceKey key, std::vector<Move>& moves) {
  const SlotIdx slot = table_.find(key);
  REPREFILL_CHECK(slot != kNoSlot && table_[slot].place == Place::host, "only a host hit can be promoted");
  const Bytes bytes = table_[slot].bytes();
  if (choose_victims(Tier::gpu, slot, bytes) != Room::made) {
    record(key, bytes, Decision::not_promoted);
    return false;
  }
  leave(Tier::host, slot);  // first: its room serves the victims, and it must not be one itself
  evict_victims(Tier::gpu, moves);
  enter(Tier::gpu, slot, bytes);
  ++statistics_.promotions;
  statistics_.promoted_bytes += bytes;
  move(moves, slot, bytes, Decision::promoted);
  return true;
}

void TieredCache::discard(PieceKey key, std::vector<Move>& moves) {
  const SlotIdx slot = table_.find(key);
  if (slot == kNoSlot) return;
  const std::optional<Tier> tier = tier_of(table_[slot]);
  if (!tier) return;
  REPREFILL_CHECK(table_[slot].num_pins == 0, "piece {:#x} is pinned and cannot leave", key.packed);
  policy_->on_pin(*tier, slot);  // takes it out of the order of those that may leave
  leave(*tier, slot);
  drop(*tier, slot, moves);
}

bool TieredCache::is_pinned(PieceKey key) const {
  const SlotIdx slot = table_.find(key);
  return slot != kNoSlot && table_[slot].num_pins > 0;
}

void TieredCache::unpin(PieceKey key) {
  const SlotIdx slot = table_.find(key);
  REPREFILL_CHECK(slot != kNoSlot && table_[slot].num_pins > 0, "piece {:#x} has no pin to give back", key.packed);
  if (--table_[slot].num_pins == 0) policy_->on_unpin(*tier_of(table_[slot]), slot);
}

double TieredCache::fill(Tier tier) const {
  const TierState& state = tiers_[index_of(tier)];
  if (state.capacity == Bytes{0}) return 1;
  return static_cast<double>(state.used.value) / static_cast<double>(state.capacity.value);
}

SlotIdx TieredCache::create(PieceKey key) {
  // Before the new one, which is never dropped for its own sake: it is needed now.
  if (needs_.score_table_entries > 0 && table_.size() >= needs_.score_table_entries) drop_oldest_state();
  const SlotIdx slot = table_.create(key);
  policy_->begin(slot, key);
  return slot;
}

void TieredCache::drop_oldest_state() {
  const SlotIdx oldest = table_.oldest_absent();
  if (oldest == kNoSlot) return;
  ++statistics_.states_dropped;
  record(table_[oldest].key, Bytes{0}, Decision::state_dropped);
  table_.erase(oldest);
}

/// All or nothing: leaves the victims in the tier's scratch list and out of the policy's order, or changes nothing.
TieredCache::Room TieredCache::choose_victims(Tier tier, SlotIdx candidate, Bytes bytes) {
  TierState& state = state_of(tier);
  state.victims.clear();
  Bytes room = state.capacity - state.used;
  if (bytes <= room) return Room::made;
  state.has_been_full = true;
  if (bytes > state.capacity) return Room::too_large;
  while (room < bytes) {
    const Victim victim = policy_->pop_victim(tier, candidate);
    if (victim.kind != Victim::Kind::piece) {
      for (auto it = state.victims.rbegin(); it != state.victims.rend(); ++it) policy_->put_back(tier, *it);
      state.victims.clear();
      return victim.kind == Victim::Kind::none_worse ? Room::none_worse : Room::only_pinned;
    }
    state.victims.push_back(victim.slot);
    room += table_[victim.slot].bytes();
  }
  return Room::made;
}

void TieredCache::evict_victims(Tier tier, std::vector<Move>& moves) {
  for (const SlotIdx victim : state_of(tier).victims) {
    leave(tier, victim);
    if (tier == Tier::gpu) {
      demote_or_drop(victim, moves);
    } else {
      drop(Tier::host, victim, moves);
    }
  }
}

void TieredCache::demote_or_drop(SlotIdx slot, std::vector<Move>& moves) {
  const Bytes bytes = table_[slot].bytes();
  if (choose_victims(Tier::host, slot, bytes) != Room::made) return drop(Tier::gpu, slot, moves);
  evict_victims(Tier::host, moves);
  enter(Tier::host, slot, bytes);
  ++statistics_.demotions;
  statistics_.demoted_bytes += bytes;
  move(moves, slot, bytes, Decision::demoted);
}

void TieredCache::drop(Tier tier, SlotIdx slot, std::vector<Move>& moves) {
  const Bytes bytes = table_[slot].bytes();
  ++statistics_of(tier).dropped;
  statistics_of(tier).dropped_bytes += bytes;
  move(moves, slot, bytes, tier == Tier::gpu ? Decision::dropped_gpu : Decision::dropped_host);
  table_.make_absent(slot);
  policy_->on_dropped(slot);
  forget_unless_remembered(slot);
}

void TieredCache::enter(Tier tier, SlotIdx slot, Bytes bytes) {
  TierState& state = state_of(tier);
  state.used += bytes;
  ++state.num_entries;
  REPREFILL_CHECK(state.used <= state.capacity, "{} tier holds {} of {} bytes", name_of(tier), state.used.value,
                  state.capacity.value);
  table_.make_resident(slot, tier, bytes);
  policy_->on_enter(tier, slot, table_[slot].num_pins > 0 ? Pinned::yes : Pinned::no);
}

/// The piece is then in neither tier; the caller says at once where it goes.
void TieredCache::leave(Tier tier, SlotIdx slot) {
  TierState& state = state_of(tier);
  state.used -= table_[slot].bytes();
  --state.num_entries;
  policy_->on_leave(tier, slot);
}

void TieredCache::forget_unless_remembered(SlotIdx slot) {
  if (needs_.begins == StateNeeds::Begins::on_entry) table_.erase(slot);
}

void TieredCache::pin(SlotIdx slot) {
  PieceTable::Slot& piece = table_[slot];
  REPREFILL_CHECK(piece.num_pins < std::numeric_limits<std::uint16_t>::max(), "a piece with {} pins", piece.num_pins);
  if (++piece.num_pins == 1) policy_->on_pin(*tier_of(piece), slot);
}

void TieredCache::count_bypass(Bytes bytes, Room gpu, Room host) {
  ++statistics_.bypasses;
  statistics_.bypassed_bytes += bytes;
  if (gpu == Room::only_pinned || host == Room::only_pinned) ++statistics_.bypasses_pinned;
  if (gpu == Room::too_large && host == Room::too_large) ++statistics_.bypasses_too_large;
}

void TieredCache::move(std::vector<Move>& moves, SlotIdx slot, Bytes bytes, Decision decision) {
  moves.push_back({table_[slot].key, bytes, decision});
  record(table_[slot].key, bytes, decision);
}

void TieredCache::record(PieceKey key, Bytes bytes, Decision decision) {
  if (log_ != nullptr) log_->record({key, bytes, decision});
}

void TieredCache::check_invariants() const {
  std::array<Bytes, kNumTiers> bytes{};
  std::array<std::uint64_t, kNumTiers> entries{};
  for (SlotIdx slot = 0; slot < table_.num_slots(); ++slot) {
    const PieceTable::Slot& piece = table_[slot];
    REPREFILL_CHECK(piece.is_resident() || piece.num_pins == 0, "an absent piece has {} pins", piece.num_pins);
    REPREFILL_CHECK(piece.place == Place::unused || table_.find(piece.key) == slot, "slot {} is not indexed", slot);
    if (!piece.is_resident()) continue;
    bytes[index_of(*tier_of(piece))] += piece.bytes();
    ++entries[index_of(*tier_of(piece))];
  }
  for (const Tier tier : {Tier::gpu, Tier::host}) {
    const TierState& state = tiers_[index_of(tier)];
    REPREFILL_CHECK(bytes[index_of(tier)] == state.used && entries[index_of(tier)] == state.num_entries,
                    "{} tier counts {} bytes in {} pieces, but holds {} in {}", name_of(tier), state.used.value,
                    state.num_entries, bytes[index_of(tier)].value, entries[index_of(tier)]);
    REPREFILL_CHECK(state.used <= state.capacity, "{} tier is over its capacity", name_of(tier));
  }
}

}  // namespace reprefill::cache
