// Least recently used [ref 3.1: AS+LRU; ref 3.2: "LRU always promotes to GPU"]: every load and every host hit
// displaces. A piece is in use as long as it is pinned, so it is as recent as the release of its last pin; a demoted
// piece is the most recent of the host tier. A tier is a list through the slots, so every call is O(1).
#include <array>
#include <vector>

#include "core/cache/eviction/makers.hpp"

namespace reprefill::cache {
namespace {

class Lru final : public EvictionPolicy {
 public:
  void begin(SlotIdx slot, PieceKey) override {
    if (slot >= links_.size()) links_.resize(slot + 1);
    links_[slot] = Links{};
  }

  void on_enter(Tier tier, SlotIdx slot, Pinned pinned) override {
    if (pinned == Pinned::no) link_newest(tier, slot);
  }
  void on_leave(Tier tier, SlotIdx slot) override { unlink(tier, slot); }
  void on_pin(Tier tier, SlotIdx slot) override { unlink(tier, slot); }
  void on_unpin(Tier tier, SlotIdx slot) override { link_newest(tier, slot); }

  Victim pop_victim(Tier tier, SlotIdx /*candidate*/) override {
    const SlotIdx oldest = lists_[index_of(tier)].oldest;
    if (oldest == kNoSlot) return {Victim::Kind::only_pinned};
    unlink(tier, oldest);
    return {Victim::Kind::piece, oldest};
  }
  void put_back(Tier tier, SlotIdx victim) override { link_oldest(tier, victim); }

 private:
  struct Links {
    SlotIdx older = kUnlinked, newer = kUnlinked;
  };
  struct List {
    SlotIdx oldest = kNoSlot, newest = kNoSlot;
  };
  static constexpr SlotIdx kUnlinked = kNoSlot - 1;

  void link_newest(Tier tier, SlotIdx slot) {
    List& list = lists_[index_of(tier)];
    links_[slot] = {.older = list.newest, .newer = kNoSlot};
    (list.newest == kNoSlot ? list.oldest : links_[list.newest].newer) = slot;
    list.newest = slot;
  }
  void link_oldest(Tier tier, SlotIdx slot) {
    List& list = lists_[index_of(tier)];
    links_[slot] = {.older = kNoSlot, .newer = list.oldest};
    (list.oldest == kNoSlot ? list.newest : links_[list.oldest].older) = slot;
    list.oldest = slot;
  }
  void unlink(Tier tier, SlotIdx slot) {
    const Links links = links_[slot];
    if (links.older == kUnlinked) return;
    List& list = lists_[index_of(tier)];
    (links.older == kNoSlot ? list.oldest : links_[links.older].newer) = links.newer;
    (links.newer == kNoSlot ? list.newest : links_[links.newer].older) = links.older;
    links_[slot] = Links{};
  }

  std::vector<Links> links_;
  std::array<List, kNumTiers> lists_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru(const NoParams&) { return std::make_unique<Lru>(); }

}  // namespace reprefill::cache
