// The score cache of IMPRESS [ref 3.2]: access frequency x share of the piece's tokens that were important, a moving
// average updated on access. An access is a selection; a piece that was never selected scores 0.
// The weight of the moving average is not published. The author-lineage prototype ("CKLFU") accumulates the number of
// important tokens, which is frequency x running mean: that is the default.
#include "core/cache/eviction/makers.hpp"
#include "core/cache/eviction/scored_policy.hpp"

namespace reprefill::cache {
namespace {

struct ImportanceFrequencyState {
  double mean_share = 0;
  std::uint32_t num_accesses = 0;
  double score() const { return num_accesses * mean_share; }
};

class ImportanceFrequency final : public ScoredPolicy<ImportanceFrequencyState> {
 public:
  explicit ImportanceFrequency(const ImportanceFrequencyParams& params) : params_(params) {}

  StateNeeds state_needs() const override {
    return {.begins = StateNeeds::Begins::on_selection, .score_table_entries = params_.score_table_entries};
  }
  void on_selected(SlotIdx slot, double share) override {
    update(slot, [&](ImportanceFrequencyState& state) {
      ++state.num_accesses;
      state.mean_share += weight_of_access(state.num_accesses) * (share - state.mean_share);
    });
  }

 private:
  double weight_of_access(std::uint32_t num_accesses) const {
    const bool is_mean = params_.share_average == ShareAverage::running_mean || num_accesses == 1;
    return is_mean ? 1.0 / num_accesses : params_.share_weight;
  }

  ImportanceFrequencyParams params_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_importance_frequency(const ImportanceFrequencyParams& params) {
  return std::make_unique<ImportanceFrequency>(params);
}

}  // namespace reprefill::cache
