// Least frequently used, with the insertion rule of the author-lineage prototype [ref 3.2]: a piece enters if there is
// room or it was looked up more often than the least used piece there. Frequencies outlive residence and do not age.
#include "core/cache/eviction/makers.hpp"
#include "core/cache/eviction/scored_policy.hpp"

namespace reprefill::cache {
namespace {

struct LfuState {
  std::uint32_t num_lookups = 0;
  double score() const { return num_lookups; }
};

class Lfu final : public ScoredPolicy<LfuState> {
 public:
  explicit Lfu(const ScoreTableParams& params) : params_(params) {}

  StateNeeds state_needs() const override {
    return {.begins = StateNeeds::Begins::on_lookup, .score_table_entries = params_.score_table_entries};
  }
  void on_lookup(SlotIdx slot) override {
    update(slot, [](LfuState& state) { ++state.num_lookups; });
  }

 private:
  ScoreTableParams params_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lfu(const ScoreTableParams& params) { return std::make_unique<Lfu>(params); }

}  // namespace reprefill::cache
