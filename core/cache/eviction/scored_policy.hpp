// What the policies with a scalar score share: per tier, unpinned pieces ordered by (score, entry into the tier).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/cache/eviction_policy.hpp"

namespace reprefill::cache {

/// `State` holds what is remembered of a piece and says its `double score() const`. A candidate displaces a piece of
/// strictly lower score; between equal scores the piece that entered the tier earlier leaves first.
///
/// The heaps are lazy, because scores mostly grow and pieces are pinned and unpinned far more often than one leaves: an
/// entry holds the score at the time of pushing and is put right only when it comes to the top. Exact nevertheless:
/// every queued piece has an entry whose score is no higher than the piece's own. Each correction is paid for by the
/// change that made it necessary, so O(log n) amortised per call.
template <typename State>
class ScoredPolicy : public EvictionPolicy {
 public:
  void begin(SlotIdx slot, PieceKey) override {
    if (slot >= nodes_.size()) nodes_.resize(slot + 1);
    nodes_[slot] = Node{};
  }

  void on_enter(Tier tier, SlotIdx slot, Pinned pinned) final {
    REPREFILL_CHECK(++last_entry_ <= kEntryMask, "a cache counts 2^{} entries into its tiers", kEntryBits);
    Node& node = nodes_[slot];
    node.entry = last_entry_ & kEntryMask;
    node.tier = index_of(tier) & 1;
    node.pinned = pinned == Pinned::yes;
    ++num_members_[index_of(tier)];
    if (!node.pinned) push(slot);
  }
  void on_leave(Tier tier, SlotIdx slot) final {
    Node& node = nodes_[slot];
    node.entry = 0;  // what is left of it in the heap is dead
    node.queued = false;
    --num_members_[index_of(tier)];
  }
  void on_pin(Tier, SlotIdx slot) final { nodes_[slot].pinned = true; }
  void on_unpin(Tier, SlotIdx slot) final {
    nodes_[slot].pinned = false;
    if (!nodes_[slot].queued) push(slot);
  }

  Victim pop_victim(Tier tier, SlotIdx candidate) final {
    Heap& heap = heaps_[index_of(tier)];
    settle_top(heap);
    if (heap.empty()) return {Victim::Kind::only_pinned};
    if (!(nodes_[candidate].state.score() > heap.front().score)) return {Victim::Kind::none_worse};
    const SlotIdx victim = heap.front().slot();
    pop_top(heap);
    nodes_[victim].queued = false;
    return {Victim::Kind::piece, victim};
  }
  void put_back(Tier, SlotIdx victim) final { push(victim); }

 protected:
  /// Applies `change` to what is remembered of the piece.
  template <typename Change>
  void update(SlotIdx slot, Change change) {
    Node& node = nodes_[slot];
    const double before = node.state.score();
    change(node.state);
    // A higher score is put right at the top of the heap; a lower one must be found in time.
    if (node.queued && node.state.score() < before) push(slot);
  }

 private:
  static constexpr int kEntryBits = 64 - kSlotBits;
  static constexpr std::uint64_t kEntryMask = (std::uint64_t{1} << kEntryBits) - 1;

  struct Node {
    State state;
    std::uint64_t entry : kEntryBits = 0;  // number of its entry into the tier; 0: absent
    std::uint64_t tier : 1 = 0;
    std::uint64_t pinned : 1 = 0;
    std::uint64_t queued : 1 = 0;
  };
  struct Queued {
    double score;
    std::uint64_t entry_and_slot;
    SlotIdx slot() const { return static_cast<SlotIdx>(entry_and_slot & ((std::uint64_t{1} << kSlotBits) - 1)); }
    std::uint64_t entry() const { return entry_and_slot >> kSlotBits; }
  };
  using Heap = std::vector<Queued>;
  static bool leaves_later(const Queued& a, const Queued& b) {
    return a.score > b.score || (a.score == b.score && a.entry_and_slot > b.entry_and_slot);
  }

  void push(SlotIdx slot) {
    Node& node = nodes_[slot];
    Heap& heap = heaps_[node.tier];
    node.queued = true;
    if (heap.size() > 2 * num_members_[node.tier] + 64) remove_dead(heap);
    heap.push_back({node.state.score(), std::uint64_t{node.entry} << kSlotBits | slot});
    std::push_heap(heap.begin(), heap.end(), leaves_later);
  }
  static void pop_top(Heap& heap) {
    std::pop_heap(heap.begin(), heap.end(), leaves_later);
    heap.pop_back();
  }

  /// Until the top is the unpinned piece of lowest (score, entry), or the heap is empty.
  void settle_top(Heap& heap) {
    while (!heap.empty()) {
      const Queued top = heap.front();
      Node& node = nodes_[top.slot()];
      const bool is_alive = node.entry == top.entry() && node.queued;
      if (is_alive && !node.pinned && node.state.score() == top.score) return;
      pop_top(heap);
      if (!is_alive) continue;
      node.queued = false;
      if (!node.pinned) push(top.slot());
    }
  }

  /// Keeps one entry for each queued piece, so that the dead never outnumber the living for long.
  void remove_dead(Heap& heap) {
    std::size_t num_kept = 0;
    for (const Queued& queued : heap) {
      Node& node = nodes_[queued.slot()];
      if (node.entry != queued.entry() || !node.queued) continue;
      node.queued = false;  // a second entry of the same piece is dead too
      heap[num_kept++] = {node.state.score(), queued.entry_and_slot};
    }
    heap.resize(num_kept);
    for (const Queued& queued : heap) nodes_[queued.slot()].queued = true;
    std::make_heap(heap.begin(), heap.end(), leaves_later);
  }

  std::vector<Node> nodes_;
  std::array<Heap, kNumTiers> heaps_;
  std::array<std::uint64_t, kNumTiers> num_members_{};
  std::uint64_t last_entry_ = 0;
};

}  // namespace reprefill::cache
