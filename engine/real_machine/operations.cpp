#include "engine/real_machine/operations.hpp"

#include "core/pipeline/request.hpp"

namespace reprefill::engine {
void RealMachine::Score::compute(const RealMachineOptions& options, Sequence& sequence) {
  const ModelGeometry& geometry = options.environment->geometry;
  const int layer = context().layer_idx;
  std::vector<int> probe_heads;
  int num_key_heads = geometry.num_kv_heads;
  scores.num_groups = 1;
  if (spec.grouping == traces::HeadGrouping::per_kv_head) scores.num_groups = geometry.num_kv_heads;
  if (spec.grouping == traces::HeadGrouping::probe_heads) {
    probe_heads = options.system->store_layout()->auxiliary().probe_heads;
    num_key_heads = geometry.num_probed_kv_heads(probe_heads);
    scores.num_groups = static_cast<int>(probe_heads.size());
  }
  if (spec.repeats_projection) options.executor->project(sequence, layer, {0, sequence.num_own_tokens()});
  scores.num_units = request->stored_tokens / spec.unit_tokens;
  scores.values.resize(static_cast<std::size_t>(scores.num_groups) * scores.num_units);
  result_ = options.executor->host_buffer(Bytes{scores.values.size() * sizeof(float)});
  options.executor->score(
      sequence, layer, keys.resolve_keys(num_key_heads),
      {.grouping = spec.grouping, .probe_heads = probe_heads, .unit_tokens = spec.unit_tokens, .digest = spec.digest},
      {reinterpret_cast<float*>(result_.get()), scores.values.size()});
}

void RealMachine::Score::collect() {
  std::memcpy(scores.values.data(), result_.get(), scores.values.size() * sizeof(float));
  result_ = nullptr;
}

/// The kernel ran and was timed; a replayed run takes what the trace says.
void RealMachine::Score::after() {
  keys = LayerView{};
  const traces::ImportanceSource* replayed = machine->options_.selections;
  if (replayed == nullptr) return;
  scores.num_groups = replayed->num_groups(spec.grouping);
  scores.values.resize(static_cast<std::size_t>(scores.num_groups) * scores.num_units);
  replayed->unit_scores({.request = request->importance_id,
                         .task = request->task,
                         .prefix = request->stored_prefix,
                         .layer_idx = context().layer_idx,
                         .grouping = spec.grouping,
                         .digest = spec.digest},
                        static_cast<int>(spec.unit_tokens), scores.values);
}

void RealMachine::Select::after() {
  const auto& scored = static_cast<const Score&>(*scores);
  machine->observer_.on_selection(*scored.request, context().layer_idx, scored.spec, scored.scores, *selection);
  scores = nullptr;
}

void RealMachine::Attend::after() {
  if (is_last_block) {
    machine->placement_->end_layer(context());
    Active& entry = machine->active(context().request);
    if (entry.input.keep_views) entry.views[static_cast<std::size_t>(context().layer_idx)] = std::move(view);
  }
  view = LayerView{};
}

}  // namespace reprefill::engine
