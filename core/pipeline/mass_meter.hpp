// A proxy of quality: how much of the prefix's attention mass a system kept (semantics 8).
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "core/pipeline/machine.hpp"
#include "core/pipeline/request.hpp"

namespace reprefill::pipeline {

/// Kept share of the mass, over the layers of one request.
struct LayerMass {
  double sum = 0;
  double worst = 1;
  int num_layers = 0;
  double recall_sum = 0;  // of each selection that all heads share: chosen units among the best by keys, over all
  int num_selections = 0;
  std::shared_ptr<const Selection> last_selection = nullptr;
};

class MassMeter {
 public:
  explicit MassMeter(const traces::ImportanceSource& importance) : importance_(importance) {}

  /// The layer's own mass decides, whichever layer the selection came from. Per-head selections are averaged over
  /// heads.
  void add(const Request& request, int layer_idx, const KvView& view, LayerMass& mass) {
    if (view.prefix_tokens == 0) return;
    const double kept = view.kept == nullptr || view.kept->is_everything || view.rest_is_computed
                            ? 1.0
                            : kept_share(request, layer_idx, view, mass);
    mass.sum += kept;
    mass.worst = std::min(mass.worst, kept);
    ++mass.num_layers;
  }

 private:
  /// A selection counts once, at its first layer: the one whose scores it was made from. `scores_` are that layer's.
  void add_recall(const KvView& view, LayerMass& mass) {
    if (view.kept == mass.last_selection || view.kept->groups.size() != 1 || view.kept->shared().empty()) return;
    mass.last_selection = view.kept;
    const std::vector<std::uint32_t>& chosen = view.kept->shared();
    const std::vector<std::uint32_t> best = top_k(scores_, chosen.size());
    std::vector<std::uint32_t> both;
    std::ranges::set_intersection(chosen, best, std::back_inserter(both));
    mass.recall_sum += static_cast<double>(both.size()) / static_cast<double>(chosen.size());
    ++mass.num_selections;
  }

  double kept_share(const Request& request, int layer_idx, const KvView& view, LayerMass& mass) {
    const auto unit = static_cast<int>(view.unit_tokens);
    const std::size_t num_units = traces::num_units(request.stored_prefix, unit);
    const auto num_groups = static_cast<std::size_t>(importance_.num_groups(view.grouping));
    scores_.resize(num_groups * num_units);
    importance_.unit_scores({.request = request.importance_id,
                             .task = request.task,
                             .prefix = request.stored_prefix,
                             .layer_idx = layer_idx,
                             .grouping = view.grouping},
                            unit, scores_);
    if (view.grouping == traces::HeadGrouping::all_heads) add_recall(view, mass);
    double share = 0;
    for (std::size_t group = 0; group < num_groups; ++group) {
      const float* scores = scores_.data() + group * num_units;
      double all = 0, kept = 0;
      for (std::size_t i = 0; i < num_units; ++i) all += static_cast<double>(scores[i]);
      for (const std::uint32_t i : view.kept->groups[std::min(group, view.kept->groups.size() - 1)]) {
        kept += static_cast<double>(scores[i]);
      }
      share += all > 0 ? kept / all : 1.0;
    }
    return share / static_cast<double>(num_groups);
  }

  const traces::ImportanceSource& importance_;
  std::vector<float> scores_;
};

}  // namespace reprefill::pipeline
