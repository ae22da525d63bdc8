#include "engine/session/prepared_selections.hpp"

#include <algorithm>

namespace reprefill::engine {

void PreparedSelections::prepare(const pipeline::Request& request) {
  prepared_request_ = request.importance_id;
  for (auto& [wanted, scores] : wanted_) {
    const auto [layer, grouping, digest, unit_tokens] = wanted;
    scores.resize(static_cast<std::size_t>(num_groups(grouping)) *
                  traces::num_units(request.stored_prefix, unit_tokens));
    source_.unit_scores({.request = request.importance_id,
                         .task = request.task,
                         .prefix = request.stored_prefix,
                         .layer_idx = layer,
                         .grouping = grouping,
                         .digest = digest},
                        unit_tokens, scores);
  }
}

void PreparedSelections::unit_scores(const traces::ImportanceQuery& query, int unit_tokens,
                                     std::span<float> out) const {
  const std::vector<float>& scores = wanted_[{query.layer_idx, query.grouping, query.digest, unit_tokens}];
  if (query.request == prepared_request_ && scores.size() == out.size()) {
    std::ranges::copy(scores, out.begin());
  } else {
    source_.unit_scores(query, unit_tokens, out);
  }
}

}  // namespace reprefill::engine
