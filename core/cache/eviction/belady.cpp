#include "core/cache/eviction/belady.hpp"

#include "core/cache/eviction/scored_policy.hpp"

namespace reprefill::cache {

void FutureUses::add(PieceKey piece) {
  REPREFILL_CHECK(next_.size() < kNone, "a run of more than 2^32 look-ups");
  const auto lookup = static_cast<std::uint32_t>(next_.size());
  next_.push_back(kNone);
  Chain& chain = chains_[piece];
  (chain.last == kNone ? chain.first : next_[chain.last]) = lookup;
  chain.last = lookup;
}

std::uint32_t FutureUses::advance(PieceKey piece) {
  const auto found = chains_.find(piece);
  if (found == chains_.end()) return kNone;
  Chain& chain = found->second;
  if (chain.current == kNone) {
    chain.current = chain.first;
  } else if (next_[chain.current] != kNone) {
    chain.current = next_[chain.current];
  }
  return chain.current;
}

namespace {

struct BeladyState {
  const FutureUses* future = nullptr;
  std::uint32_t latest = FutureUses::kNone;  // its last look-up; the one after it may become known later
  /// The sooner the higher; exact up to 2^53 look-ups.
  double score() const {
    const std::uint64_t next = future == nullptr ? FutureUses::kNever : future->next_after(latest);
    return next == FutureUses::kNever ? -std::numeric_limits<double>::infinity() : -static_cast<double>(next);
  }
};

class Belady final : public ScoredPolicy<BeladyState> {
 public:
  explicit Belady(std::shared_ptr<FutureUses> future) : future_(std::move(future)) {}

  StateNeeds state_needs() const override {
    // A look-up says all that there is to know of a piece: old states are of no use.
    return {.begins = StateNeeds::Begins::on_lookup, .score_table_entries = 1 << 20};
  }
  void begin(SlotIdx slot, PieceKey piece) override {
    ScoredPolicy::begin(slot, piece);
    if (slot >= pieces_.size()) pieces_.resize(slot + 1);
    pieces_[slot] = piece;
  }
  void on_lookup(SlotIdx slot) override {
    const std::uint32_t latest = future_->advance(pieces_[slot]);
    update(slot, [&](BeladyState& state) {
      state.future = future_.get();
      state.latest = latest;
    });
  }

 private:
  std::shared_ptr<FutureUses> future_;
  std::vector<PieceKey> pieces_;  // by slot
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_belady(std::shared_ptr<FutureUses> future) {
  return std::make_unique<Belady>(std::move(future));
}

}  // namespace reprefill::cache
