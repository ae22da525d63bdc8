#include "core/cache/piece_table.hpp"

#include <limits>

namespace reprefill::cache {

SlotIdx PieceTable::create(PieceKey key) {
  SlotIdx slot;
  if (unused_.empty()) {
    REPREFILL_CHECK(slots_.size() < (std::size_t{1} << kSlotBits), "a cache knows at most 2^{} pieces", kSlotBits);
    slot = static_cast<SlotIdx>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = unused_.back();
    unused_.pop_back();
  }
  slots_[slot] = Slot{.key = key, .place = Place::absent};
  index_.insert(slot);
  link_newest(slot);
  return slot;
}

void PieceTable::erase(SlotIdx slot) {
  REPREFILL_CHECK(slots_[slot].place == Place::absent, "a resident piece cannot be forgotten");
  unlink(slot);
  index_.erase(index_.find(slots_[slot].key));
  slots_[slot].place = Place::unused;
  unused_.push_back(slot);
}

void PieceTable::make_resident(SlotIdx slot, Tier tier, Bytes bytes) {
  REPREFILL_CHECK(bytes.value <= std::numeric_limits<std::uint32_t>::max(), "a piece of {} bytes is over 4 GiB",
                  bytes.value);
  if (slots_[slot].place == Place::absent) unlink(slot);
  slots_[slot].place = place_in(tier);
  slots_[slot].size_bytes = static_cast<std::uint32_t>(bytes.value);
}

void PieceTable::make_absent(SlotIdx slot) {
  slots_[slot].place = Place::absent;
  link_newest(slot);
}

void PieceTable::touch_absent(SlotIdx slot) {
  if (newest_ == slot) return;
  unlink(slot);
  link_newest(slot);
}

void PieceTable::link_newest(SlotIdx slot) {
  slots_[slot].older = newest_;
  slots_[slot].newer = kNoSlot;
  (newest_ == kNoSlot ? oldest_ : slots_[newest_].newer) = slot;
  newest_ = slot;
}

void PieceTable::unlink(SlotIdx slot) {
  const auto [older, newer] = std::pair{slots_[slot].older, slots_[slot].newer};
  (older == kNoSlot ? oldest_ : slots_[older].newer) = newer;
  (newer == kNoSlot ? newest_ : slots_[newer].older) = older;
}

}  // namespace reprefill::cache
