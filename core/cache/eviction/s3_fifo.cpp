// S3-FIFO (Yang et al., SOSP 2023, "FIFO queues are all you need for cache eviction"): a small queue takes what is new,
// a main queue what was used again there or comes back soon after it left; a ghost queue remembers who left the small
// one. Per tier: two queues; which of them a piece is in, and its 2-bit use count, go with it from tier to tier.
//
// The paper counts in one cache of equal objects. Here: the small queue gives a victim while it holds at least
// `small_share` of its tier's pieces; a piece is a ghost until as many others have left the small queues as both tiers
// hold pieces. What a search for victims moves (small to main, a use count down) stays moved when the candidate is
// refused in the end.
//
// Pinned pieces keep their place in the order and are passed over. The queues are lazy heaps by place, so that pins
// cost nothing unless they come to the front: O(log n) amortised per call.
#include <algorithm>
#include <array>
#include <vector>

#include "core/cache/eviction/makers.hpp"

namespace reprefill::cache {
namespace {

class S3Fifo final : public EvictionPolicy {
 public:
  explicit S3Fifo(const S3FifoParams& params) : params_(params) {}

  StateNeeds state_needs() const override {
    return {.begins = StateNeeds::Begins::on_lookup, .score_table_entries = params_.score_table_entries};
  }
  void begin(SlotIdx slot, PieceKey) override {
    if (slot >= nodes_.size()) nodes_.resize(slot + 1);
    nodes_[slot] = Node{};
  }

  void on_lookup(SlotIdx slot) override {
    Node& node = nodes_[slot];
    if (node.is_resident && node.num_uses < kMostUses) ++node.num_uses;
  }
  void on_loaded(SlotIdx slot) override {
    Node& node = nodes_[slot];
    if (node.is_resident) return;
    const bool is_ghost = node.ghost > 0 && num_ghosts_made_ - node.ghost < num_resident_;
    node.queue = is_ghost ? kMain : kSmall;
    node.num_uses = 0;
    node.ghost = 0;
  }
  void on_dropped(SlotIdx slot) override {
    Node& node = nodes_[slot];
    node.is_resident = false;
    --num_resident_;
    if (node.queue == kSmall) node.ghost = ++num_ghosts_made_;
  }

  void on_enter(Tier tier, SlotIdx slot, Pinned pinned) override {
    Node& node = nodes_[slot];
    if (!node.is_resident) ++num_resident_;
    node.is_resident = true;
    node.is_pinned = pinned == Pinned::yes;
    join(tier, slot, node.queue);
  }
  void on_leave(Tier tier, SlotIdx slot) override { quit(tier, slot); }
  void on_pin(Tier, SlotIdx slot) override { nodes_[slot].is_pinned = true; }
  void on_unpin(Tier tier, SlotIdx slot) override {
    nodes_[slot].is_pinned = false;
    if (!nodes_[slot].is_queued) push(tier, slot);
  }

  Victim pop_victim(Tier tier, SlotIdx /*candidate*/) override {
    const auto& queues = tiers_[index_of(tier)];
    const auto num_small = static_cast<double>(queues[kSmall].num_members);
    const auto num_pieces = num_small + static_cast<double>(queues[kMain].num_members);
    if (num_small >= params_.small_share * num_pieces) {
      if (const SlotIdx victim = pop_small(tier); victim != kNoSlot) return {Victim::Kind::piece, victim};
      if (const SlotIdx victim = pop_main(tier); victim != kNoSlot) return {Victim::Kind::piece, victim};
    } else {
      if (const SlotIdx victim = pop_main(tier); victim != kNoSlot) return {Victim::Kind::piece, victim};
      if (const SlotIdx victim = pop_small(tier); victim != kNoSlot) return {Victim::Kind::piece, victim};
      // The search may have moved everything that was small to the main queue.
      if (const SlotIdx victim = pop_main(tier); victim != kNoSlot) return {Victim::Kind::piece, victim};
    }
    return {Victim::Kind::only_pinned};
  }
  void put_back(Tier tier, SlotIdx victim) override { push(tier, victim); }

 private:
  static constexpr std::uint8_t kSmall = 0, kMain = 1;
  static constexpr std::uint8_t kMostUses = 3;     // two bits
  static constexpr std::uint8_t kUsesForMain = 2;  // paper: more than once

  struct Node {
    std::uint64_t place = 0;  // in its queue, ascending from the front; 0: in none
    std::uint64_t ghost = 0;  // the how-manieth ghost it became; 0: is none
    std::uint8_t queue = kSmall;
    std::uint8_t num_uses = 0;
    bool is_resident = false;
    bool is_pinned = false;
    bool is_queued = false;  // its entry in the heap is alive
  };
  struct Entry {
    std::uint64_t place;
    SlotIdx slot;
  };
  struct Queue {
    std::vector<Entry> heap;
    std::uint64_t num_members = 0;  // pinned ones too
  };
  static bool leaves_later(const Entry& a, const Entry& b) { return a.place > b.place; }

  Queue& queue_of(Tier tier, std::uint8_t queue) { return tiers_[index_of(tier)][queue]; }

  /// Takes the last place of the queue.
  void join(Tier tier, SlotIdx slot, std::uint8_t queue) {
    Node& node = nodes_[slot];
    node.queue = queue;
    node.place = ++last_place_;
    ++queue_of(tier, queue).num_members;
    if (!node.is_pinned) push(tier, slot);
  }
  void quit(Tier tier, SlotIdx slot) {
    Node& node = nodes_[slot];
    node.place = 0;  // what is left of it in the heap is dead
    node.is_queued = false;
    --queue_of(tier, node.queue).num_members;
  }
  void push(Tier tier, SlotIdx slot) {
    Node& node = nodes_[slot];
    Queue& queue = queue_of(tier, node.queue);
    if (queue.heap.size() > 2 * queue.num_members + 64) remove_dead(queue);
    node.is_queued = true;
    queue.heap.push_back({node.place, slot});
    std::push_heap(queue.heap.begin(), queue.heap.end(), leaves_later);
  }
  bool is_alive(const Entry& entry) const {
    return nodes_[entry.slot].place == entry.place && nodes_[entry.slot].is_queued;
  }
  void remove_dead(Queue& queue) {
    std::erase_if(queue.heap, [&](const Entry& entry) { return !is_alive(entry); });
    std::make_heap(queue.heap.begin(), queue.heap.end(), leaves_later);
  }

  /// The unpinned piece at the front, taken out of the heap.
  SlotIdx pop_front(Queue& queue) {
    while (!queue.heap.empty()) {
      const Entry front = queue.heap.front();
      std::pop_heap(queue.heap.begin(), queue.heap.end(), leaves_later);
      queue.heap.pop_back();
      if (!is_alive(front)) continue;
      nodes_[front.slot].is_queued = false;
      if (!nodes_[front.slot].is_pinned) return front.slot;
    }
    return kNoSlot;
  }
  SlotIdx pop_small(Tier tier) {
    for (;;) {
      const SlotIdx front = pop_front(queue_of(tier, kSmall));
      if (front == kNoSlot || nodes_[front].num_uses < kUsesForMain) return front;
      nodes_[front].num_uses = 0;
      quit(tier, front);
      join(tier, front, kMain);
    }
  }
  SlotIdx pop_main(Tier tier) {
    for (;;) {  // ends: each round takes a use from somebody
      const SlotIdx front = pop_front(queue_of(tier, kMain));
      if (front == kNoSlot || nodes_[front].num_uses == 0) return front;
      --nodes_[front].num_uses;
      quit(tier, front);
      join(tier, front, kMain);
    }
  }

  S3FifoParams params_;
  std::vector<Node> nodes_;
  std::array<std::array<Queue, 2>, kNumTiers> tiers_;
  std::uint64_t last_place_ = 0;
  std::uint64_t num_ghosts_made_ = 0;
  std::uint64_t num_resident_ = 0;  // in both tiers
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_s3_fifo(const S3FifoParams& params) { return std::make_unique<S3Fifo>(params); }

}  // namespace reprefill::cache
