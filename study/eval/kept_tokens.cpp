#include "study/eval/kept_tokens.hpp"

#include <algorithm>

namespace reprefill::study {
namespace {

/// Whether the view keeps a token's value for at least one head; the share of heads where they differ.
double kept_share(const pipeline::KvView& view, std::uint32_t token) {
  if (!view.kept || view.kept->is_everything) return 1;
  const std::uint32_t unit = token / view.unit_tokens;
  double heads = 0;
  for (const std::vector<std::uint32_t>& group : view.kept->groups) {
    heads += std::binary_search(group.begin(), group.end(), unit) ? 1 : 0;
  }
  return heads / static_cast<double>(view.kept->groups.size());
}

}  // namespace

std::vector<std::uint32_t> answer_tokens(const engine::Tokenizer& tokenizer, const TaskItem& item) {
  std::vector<std::uint32_t> tokens;
  if (item.answer_spans.empty()) return tokens;
  const std::vector<std::int32_t> ids = tokenizer.encode(item.prefix);
  std::size_t begin = 0;
  for (std::uint32_t i = 0; i < ids.size(); ++i) {
    const std::size_t end = begin + tokenizer.token_bytes(ids[i]).size();
    const auto overlaps = [&](const AnswerSpan& span) { return begin < span.end && span.begin < end; };
    if (std::any_of(item.answer_spans.begin(), item.answer_spans.end(), overlaps)) tokens.push_back(i);
    begin = end;
  }
  return tokens;
}

void KeptTokens::add(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) {
  if (importance_ != nullptr) pipeline::MassMeter(*importance_).add(request, layer_idx, view, mass_);
  if (answer_.empty()) return;
  double kept = 0;
  for (const std::uint32_t token : answer_) {
    // What is not stored is computed with the suffix: attention sees it in any case.
    kept += token >= request.stored_tokens || view.rest_is_computed ? 1 : kept_share(view, token);
  }
  recall_.push_back(kept / static_cast<double>(answer_.size()));
}

void KeptTokens::write(ItemResult& result) const {
  result.answer_recall = recall_;
  if (mass_.num_layers == 0) return;
  result.attention_mass_kept = mass_.sum / mass_.num_layers;
  result.attention_mass_worst = mass_.worst;
  if (mass_.num_selections > 0) result.chosen_recall = mass_.recall_sum / mass_.num_selections;
}

}  // namespace reprefill::study
