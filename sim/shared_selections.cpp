#include "sim/shared_selections.hpp"

#include <algorithm>

namespace reprefill::sim {

using pipeline::Scores;
using pipeline::Selection;
using pipeline::SelectionRule;

namespace {

bool same_choice(const SelectionRule& a, const SelectionRule& b) {
  return a.mode == b.mode && a.k == b.k && a.vote == b.vote && a.similarity_threshold == b.similarity_threshold;
}

std::size_t bytes_of(const Selection& selection) {
  std::size_t bytes = sizeof(Selection);
  for (const auto& group : selection.groups) bytes += sizeof(group) + group.capacity() * sizeof(group.front());
  return bytes;
}

}  // namespace

void draw_scores(const SelectionQuestion& question, Scores& scores) {
  scores.num_groups = question.importance->num_groups(question.query.grouping);
  scores.num_units = traces::num_units(question.query.prefix, question.unit_tokens);
  scores.values.resize(static_cast<std::size_t>(scores.num_groups) * scores.num_units);
  question.importance->unit_scores(question.query, question.unit_tokens, scores.values);
}

Selection choose(const SelectionQuestion& question) {
  Scores scores;
  draw_scores(question, scores);
  return select_units(scores, question.rule);
}

SharedSelections::Asked::Asked(const SelectionQuestion& question)
    : importance(question.importance),
      task(question.query.task),
      prefix(question.query.prefix.begin(), question.query.prefix.end()),
      grouping(question.query.grouping),
      digest(question.query.digest),
      unit_tokens(question.unit_tokens) {}

bool SharedSelections::Asked::is(const SelectionQuestion& question) const {
  return importance == question.importance && task == question.query.task &&
         std::ranges::equal(prefix, question.query.prefix) && grouping == question.query.grouping &&
         digest == question.query.digest && unit_tokens == question.unit_tokens;
}

std::shared_ptr<const Selection> SharedSelections::choose(const SelectionQuestion& question) {
  const LayerKey key{question.query.request, question.query.layer_idx};
  const auto [found, is_new] = layers_.try_emplace(key);
  Layer& layer = found->second;
  for (const Chosen& chosen : layer.chosen) {
    if (same_choice(chosen.rule, question.rule) && chosen.asked.is(question)) return chosen.selection;
  }
  if (is_new) oldest_.push_back(key);
  const auto selection = std::make_shared<const Selection>(select_units(scores_of(question, layer), question.rule));
  layer.chosen.push_back({Asked(question), question.rule, selection});
  grow(layer, sizeof(Chosen) + bytes_of(*selection));
  while (size_ > limit_) drop_oldest();
  return selection;
}

const Scores& SharedSelections::scores_of(const SelectionQuestion& question, Layer& layer) {
  for (const Drawn& drawn : layer.drawn) {
    if (drawn.asked.is(question)) return drawn.scores;
  }
  Scores* scores = &scratch_;
  if (keep_ == Keep::scores_too) scores = &layer.drawn.emplace_back(Drawn{Asked(question), {}}).scores;
  draw_scores(question, *scores);
  ++num_drawn_;
  if (keep_ == Keep::scores_too) grow(layer, sizeof(Drawn) + scores->values.size() * sizeof(float));
  return *scores;
}

void SharedSelections::grow(Layer& layer, std::size_t bytes) {
  layer.size += Bytes{bytes};
  size_ += Bytes{bytes};
}

void SharedSelections::drop_oldest() {
  const auto layer = layers_.find(oldest_.front());
  size_ -= layer->second.size;
  layers_.erase(layer);
  oldest_.pop_front();
}

}  // namespace reprefill::sim
