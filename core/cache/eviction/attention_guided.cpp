// The cache of ContiguousKV [ref 3.1; semantics 3]: S = I x F. I sums the attention of every selection (the leader's
// score, noted for the chunk in each layer of the period); F counts loads from SSD by requests that selected the chunk.
// A load counts before it is decided where it enters, and wherever that is: else a chunk that once found both tiers
// full would keep F = 0 and never enter. No ageing [A12].
#include "core/cache/eviction/makers.hpp"
#include "core/cache/eviction/scored_policy.hpp"

namespace reprefill::cache {
namespace {

struct AttentionGuidedState {
  double importance = 0;
  std::uint32_t num_loads = 0;
  double score() const { return importance * num_loads; }
};

class AttentionGuided final : public ScoredPolicy<AttentionGuidedState> {
 public:
  explicit AttentionGuided(const ScoreTableParams& params) : params_(params) {}

  StateNeeds state_needs() const override {
    return {.begins = StateNeeds::Begins::on_selection, .score_table_entries = params_.score_table_entries};
  }
  void on_selected(SlotIdx slot, double importance) override {
    update(slot, [&](AttentionGuidedState& state) { state.importance += importance; });
  }
  void on_loaded(SlotIdx slot) override {
    update(slot, [](AttentionGuidedState& state) { ++state.num_loads; });
  }

 private:
  ScoreTableParams params_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_attention_guided(const ScoreTableParams& params) {
  return std::make_unique<AttentionGuided>(params);
}

}  // namespace reprefill::cache
