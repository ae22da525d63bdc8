// ARC (Megiddo & Modha, FAST 2003, "ARC: a self-tuning, low overhead replacement cache"): pieces used once since they
// came (list "recent") and pieces used again ("frequent"), each by recency; ghosts of both say which of the two should
// have been longer, and move the target length of the recent list.
//
// The paper has one cache of c equal pages. Here c is the number of pieces in both tiers, each tier has lists of its
// own, and the target is a share of c that holds in each tier: with one tier of equal pieces it is the paper's rule. A
// piece keeps its list from tier to tier and becomes a ghost when it leaves the last. Ghosts: recent ones are never
// more than c less the recent pieces, all together never more than c; the oldest goes. Ratios of ghosts are rounded
// down to whole pieces, at least one.
//
// As in LRU, a pinned piece is in no list and is as recent as the release of its last pin. Every call is O(1).
#include <algorithm>
#include <array>
#include <vector>

#include "core/cache/eviction/makers.hpp"

namespace reprefill::cache {
namespace {

class Arc final : public EvictionPolicy {
 public:
  explicit Arc(const ScoreTableParams& params) : params_(params) {}

  StateNeeds state_needs() const override {
    return {.begins = StateNeeds::Begins::on_lookup, .score_table_entries = params_.score_table_entries};
  }
  void begin(SlotIdx slot, PieceKey) override {
    if (slot >= nodes_.size()) nodes_.resize(slot + 1);
    forget_ghost(slot);  // of the piece that had the slot before
    nodes_[slot] = Node{};
  }

  void on_lookup(SlotIdx slot) override {
    Node& node = nodes_[slot];
    if (!node.is_resident || node.kind == kFrequent) return;
    // It is linked in its tier's recent list unless pinned; the cache pins it next, which links it anew.
    if (node.is_linked) unlink(list_of(node.tier, kRecent), slot);
    --num_[node.tier][kRecent];
    ++num_[node.tier][kFrequent];
    node.kind = kFrequent;
    if (!node.is_pinned) link_newest(list_of(node.tier, kFrequent), slot);
  }

  /// A ghost's return moves the target; a stranger's does not.
  void on_loaded(SlotIdx slot) override {
    Node& node = nodes_[slot];
    if (node.is_resident) return;
    node.was_frequent_ghost = false;
    if (!node.is_ghost) {
      node.kind = kRecent;
      return;
    }
    const std::uint64_t recent = ghosts_[kRecent].size, frequent = ghosts_[kFrequent].size;
    if (node.kind == kRecent) {
      target_ = std::min(num_resident_, target_ + std::max<std::uint64_t>(1, frequent / recent));
    } else {
      target_ -= std::min(target_, std::max<std::uint64_t>(1, recent / frequent));
      node.was_frequent_ghost = true;
    }
    forget_ghost(slot);
    node.kind = kFrequent;
  }

  void on_dropped(SlotIdx slot) override {
    Node& node = nodes_[slot];
    node.is_resident = false;
    node.is_ghost = true;
    --num_resident_;
    link_newest(ghosts_[node.kind], slot);
  }

  void on_enter(Tier tier, SlotIdx slot, Pinned pinned) override {
    Node& node = nodes_[slot];
    node.tier = static_cast<std::uint8_t>(index_of(tier));
    node.is_pinned = pinned == Pinned::yes;
    node.was_frequent_ghost = false;
    ++num_[node.tier][node.kind];
    if (!node.is_pinned) link_newest(list_of(node.tier, node.kind), slot);
    if (node.is_resident) return;
    node.is_resident = true;
    ++num_resident_;
    trim_ghosts();
  }
  void on_leave(Tier, SlotIdx slot) override {
    Node& node = nodes_[slot];
    if (node.is_linked) unlink(list_of(node.tier, node.kind), slot);
    --num_[node.tier][node.kind];
  }
  void on_pin(Tier, SlotIdx slot) override {
    Node& node = nodes_[slot];
    node.is_pinned = true;
    if (node.is_linked) unlink(list_of(node.tier, node.kind), slot);
  }
  void on_unpin(Tier, SlotIdx slot) override {
    Node& node = nodes_[slot];
    node.is_pinned = false;
    link_newest(list_of(node.tier, node.kind), slot);
  }

  Victim pop_victim(Tier tier, SlotIdx candidate) override {
    const std::size_t t = index_of(tier);
    // The recent list against its share of this tier, in whole numbers: recent / pieces against target / c.
    const std::uint64_t recent = num_[t][kRecent] * num_resident_;
    const std::uint64_t target = target_ * (num_[t][kRecent] + num_[t][kFrequent]);
    const bool too_long = recent > target || (recent == target && nodes_[candidate].was_frequent_ghost);
    for (const std::uint8_t kind : {too_long ? kRecent : kFrequent, too_long ? kFrequent : kRecent}) {
      List& list = list_of(t, kind);
      if (list.oldest == kNoSlot) continue;
      const SlotIdx victim = list.oldest;
      unlink(list, victim);
      return {Victim::Kind::piece, victim};
    }
    return {Victim::Kind::only_pinned};
  }
  void put_back(Tier tier, SlotIdx victim) override {
    link_oldest(list_of(index_of(tier), nodes_[victim].kind), victim);
  }

 private:
  static constexpr std::uint8_t kRecent = 0, kFrequent = 1;

  struct Node {
    SlotIdx older = kNoSlot, newer = kNoSlot;
    std::uint8_t kind = kRecent;  // of the piece or of its ghost
    std::uint8_t tier = 0;        // while resident
    bool is_resident = false;
    bool is_pinned = false;
    bool is_linked = false;
    bool is_ghost = false;
    bool was_frequent_ghost = false;  // until the load that brought it back is decided
  };
  struct List {
    SlotIdx oldest = kNoSlot, newest = kNoSlot;
    std::uint64_t size = 0;
  };

  List& list_of(std::size_t tier, std::uint8_t kind) { return lists_[tier][kind]; }

  void link_newest(List& list, SlotIdx slot) {
    Node& node = nodes_[slot];
    node.older = list.newest;
    node.newer = kNoSlot;
    node.is_linked = true;
    (list.newest == kNoSlot ? list.oldest : nodes_[list.newest].newer) = slot;
    list.newest = slot;
    ++list.size;
  }
  void link_oldest(List& list, SlotIdx slot) {
    Node& node = nodes_[slot];
    node.older = kNoSlot;
    node.newer = list.oldest;
    node.is_linked = true;
    (list.oldest == kNoSlot ? list.newest : nodes_[list.oldest].older) = slot;
    list.oldest = slot;
    ++list.size;
  }
  void unlink(List& list, SlotIdx slot) {
    Node& node = nodes_[slot];
    (node.older == kNoSlot ? list.oldest : nodes_[node.older].newer) = node.newer;
    (node.newer == kNoSlot ? list.newest : nodes_[node.newer].older) = node.older;
    node.is_linked = false;
    --list.size;
  }

  void forget_ghost(SlotIdx slot) {
    if (!nodes_[slot].is_ghost) return;
    unlink(ghosts_[nodes_[slot].kind], slot);
    nodes_[slot].is_ghost = false;
  }
  void trim_ghosts() {
    const std::uint64_t num_recent = num_[0][kRecent] + num_[1][kRecent];
    while (ghosts_[kRecent].size + num_recent > num_resident_ && ghosts_[kRecent].size > 0) {
      forget_ghost(ghosts_[kRecent].oldest);
    }
    while (ghosts_[kRecent].size + ghosts_[kFrequent].size > num_resident_) {
      forget_ghost(ghosts_[ghosts_[kFrequent].size > 0 ? kFrequent : kRecent].oldest);
    }
  }

  ScoreTableParams params_;
  std::vector<Node> nodes_;
  std::array<std::array<List, 2>, kNumTiers> lists_;           // unpinned pieces, by tier and kind
  std::array<std::array<std::uint64_t, 2>, kNumTiers> num_{};  // all pieces, pinned ones too
  std::array<List, 2> ghosts_;
  std::uint64_t num_resident_ = 0;  // c
  std::uint64_t target_ = 0;        // of the recent pieces, in pieces of c
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_arc(const ScoreTableParams& params) { return std::make_unique<Arc>(params); }

}  // namespace reprefill::cache
