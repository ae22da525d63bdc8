// IMPRESS: probe heads choose the tokens of a layer for all heads; K and V blocks that hold them (reference 3.2).
#include <cmath>

#include "core/pipeline/identification.hpp"
#include "core/pipeline/reordering.hpp"
#include "core/pipeline/tiered_system.hpp"

namespace reprefill::pipeline {
namespace {

struct ImpressParams : LoadParams, IdentifyParams {
  Budget budget{1, 20};
  ProbeScorer scorer = ProbeScorer::probe;
  std::vector<int> probe_heads{0, 1, 2};
  Vote vote = Vote::top_k;
  double similarity_exponent = 0.6;
  AttentionOver attention_over = AttentionOver::kept;
  ReorderParams reorder;
};

/// Blocks that hold chosen tokens, by segment and block.
struct ChosenBlock {
  SegmentId segment;
  std::uint32_t index = 0;
  std::uint32_t num_tokens = 0;  // chosen ones
};

std::vector<int> probed(const ImpressParams& params, const SystemEnvironment& environment) {
  return probe_heads_of({{"scorer", enum_name(params.scorer)}, {"probe_heads", params.probe_heads}},
                        environment.geometry);
}

class Impress final : public TieredSystem {
 public:
  Impress(const ImpressParams& params, const SystemEnvironment& environment)
      : TieredSystem(params,
                     layout::StoreLayout(environment.geometry, params.kv_layout,
                                         {.probe_heads = probed(params, environment),
                                          .permutation = params.reorder.io != ReorderIo::off}),
                     environment, Json::object(), {}, identification_bytes(params, params.host_cache)),
        params_(params),
        probe_keys_(params, params.host_cache, loader_),
        reordering_(params.reorder, environment, *cache_, layout_) {}

  /// Per layer and strictly in this order: probe keys, score, vote, read K and V of the chosen tokens' blocks, attend.
  Task serve(Machine& machine, Request& request) override {
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    reordering_.begin_request(machine);
    PinnedPieces pinned, pinned_probe_keys;
    for (int layer = 0; layer < environment_.geometry.num_layers; ++layer) {
      if (request.stored_tokens == 0) {
        const Deps projected = layers.project(layer);
        layers.attend(layer, KvView{}, projected);
        continue;
      }
      const OpContext context = layers.context(layer);
      Deps scored_on =
          probe_keys_.fetch(machine, context, identification_pieces(request, layer, PieceKind::probe_keys),
                            ReadPriority::demand, layers.previous_layer(), request.account, pinned_probe_keys);
      const Deps projected = layers.project(layer);
      scored_on.add(projected);
      const ScoreSpec spec{.kind = ScorerKind::probe,
                           .grouping = traces::HeadGrouping::probe_heads,
                           .unit_tokens = 1,
                           .repeats_projection = environment_.path.scoring_repeats_projection,
                           .only_for_selection = !reordering_.reads_scores()};
      const ScoreOp scores = machine.score(context, request, spec, scored_on);
      const SelectOp chosen = machine.select(context, scores, rule(request));
      co_await Op(chosen);
      ++request.account.num_identifications;
      probe_keys_.unpin(pinned_probe_keys);
      loader_.unpin(pinned);  // the layer before is done
      reordering_.note_scores(request, layer, scores->scores);

      Deps ready = load_blocks(machine, request, *chosen->selection, context, pinned);
      ready.add(projected);
      layers.attend(layer, view(request, chosen), ready);
    }
    const Op token = layers.first_token();
    co_await token;
    loader_.unpin(pinned);
  }

  cache::TieredCache* identification_cache() override { return probe_keys_.cache(); }
  bool pins_identification_keys() const override { return probe_keys_.pins_all(); }

  const Reordering* reordering() const override { return reordering_.is_on() ? &reordering_ : nullptr; }
  bool timing_dependent() const override { return params_.reorder.io == ReorderIo::background; }
  bool prunes() const override { return !params_.budget.is_everything(); }
  Bytes one_layer_working_set(std::uint32_t stored_tokens) const override {
    return 2 * stored_tokens * tensor_bytes_per_token();  // a fallback loads the whole layer
  }

 private:
  SelectionRule rule(const Request& request) const {
    // Expected Jaccard index of two random sets with ratio r, E = r / (2 - r); the threshold is E^alpha [A7].
    const double r = params_.budget.as_double();
    const std::uint64_t k = params_.budget.ceil_of(request.stored_tokens);
    const std::int64_t num_mapped = reordering_.is_on() ? static_cast<std::int64_t>(k) : 0;
    return {.mode = SelectionMode::probe_vote,
            .k = k,
            .vote = params_.vote,
            .similarity_threshold = std::pow(r / (2 - r), params_.similarity_exponent),
            .host_time = params_.reorder.map_cost_per_token * num_mapped};
  }

  std::vector<ChosenBlock> blocks_of(const Request& request, int layer_idx,
                                     std::span<const std::uint32_t> tokens) const {
    const std::uint32_t block_tokens = load_.kv_layout.block_tokens;
    std::vector<ChosenBlock> blocks;
    std::vector<std::uint32_t> num_chosen;  // by block of the segment
    std::uint32_t span_begin = 0;
    std::size_t next = 0;
    for (const SegmentSpan& span : request.stored_prefix) {
      const std::uint32_t segment_tokens = environment_.segment_tokens(span.segment);
      num_chosen.assign(divide_rounding_up(segment_tokens, block_tokens), 0);
      const std::span<const std::uint32_t> places = reordering_.places(span.segment, layer_idx);
      REPREFILL_CHECK(places.empty() || places.size() == segment_tokens, "{} places of {} tokens", places.size(),
                      segment_tokens);
      for (; next < tokens.size() && tokens[next] < span_begin + span.num_tokens; ++next) {
        const std::uint32_t token = tokens[next] - span_begin;
        ++num_chosen[(places.empty() ? token : places[token]) / block_tokens];
      }
      for (std::uint32_t index = 0; index < num_chosen.size(); ++index) {
        if (num_chosen[index] > 0) blocks.push_back({span.segment, index, num_chosen[index]});
      }
      span_begin += span.num_tokens;
    }
    return blocks;
  }

  Deps load_blocks(Machine& machine, Request& request, const Selection& selection, OpContext context,
                   PinnedPieces& pinned) {
    const std::uint32_t block_tokens = load_.kv_layout.block_tokens;
    const std::vector<ChosenBlock> blocks = blocks_of(request, context.layer_idx, selection.shared());
    RequestAccount& account = request.account;
    account.num_fallback_layers += selection.is_everything;
    std::vector<PieceKey> wanted;
    for (const PieceKind kind : {PieceKind::key, PieceKind::value}) {
      for (const ChosenBlock& block : blocks) {
        wanted.push_back(PieceKey::make(block.segment, context.layer_idx, kind, block.index));
        cache_->note_selected(wanted.back(), static_cast<double>(block.num_tokens) / block_tokens);
      }
    }
    Residency residency;
    loader_.look_up(account, wanted, pinned, residency);

    const Bytes per_token = tensor_bytes_per_token();
    account.payload_useful += 2 * selection.shared().size() * per_token;
    std::size_t next_missing = 0;  // in the order of `wanted`
    for (std::size_t i = 0; i < wanted.size() && next_missing < residency.missing.keys.size(); ++i) {
      if (residency.missing.keys[next_missing] != wanted[i]) continue;
      account.payload_useful_from_reads += blocks[i % blocks.size()].num_tokens * per_token;
      ++next_missing;
    }
    account.kv_tokens_in_pieces += 2 * std::uint64_t{block_tokens} * blocks.size();
    account.kv_tokens_kept += 2 * selection.shared().size();
    account.kv_tokens_stored += 2 * request.stored_tokens;
    return loader_.fetch(machine, context, std::move(residency), ReadPriority::demand, {}, account);
  }

  KvView view(const Request& request, const SelectOp& chosen) const {
    const auto kept = static_cast<std::uint32_t>(chosen->selection->shared().size());
    return {.prefix_tokens = request.stored_tokens,
            .kept_k_tokens = kept,
            .kept_v_tokens = kept,
            .full_length = params_.attention_over == AttentionOver::full_length,
            .kept = chosen->selection,
            .unit_tokens = 1};
  }

  ImpressParams params_;
  IdentificationKeys probe_keys_;
  Reordering reordering_;
};

ImpressParams defaults(PathKind path) {
  const bool prototype = path == PathKind::prototype;
  ImpressParams params;
  params.cache_policy = "importance_frequency";
  params.kv_layout.block_tokens = 64;
  params.attention_over = prototype ? AttentionOver::full_length : AttentionOver::kept;
  params.identify_cache = prototype ? IdentifyCache::none : IdentifyCache::policy;
  return params;
}

void check(ImpressParams& params, const JsonValue& object) {
  if (params.scorer == ProbeScorer::probe_per_group && object.has("probe_heads")) {
    object.fail("probe_heads: scorer probe_per_group probes the first head of each group; name one of the two");
  }
  if (params.probe_heads.empty()) object.fail("probe_heads: found []; expected at least one query head");
}

}  // namespace

SystemEntry impress_entry() {
  using P = ImpressParams;
  ParamTable<P> table;
  table.add(&P::budget, budget_info());
  table.add(&P::scorer,
            {.name = "scorer",
             .doc = "whose attention chooses the tokens: probe_heads, or the first query head of every group "
                    "that shares a KV head",
             .source = "reference 3.2: three heads; one a group: reference 5, A5"});
  table.add(&P::probe_heads, {.name = "probe_heads",
                              .doc = "query heads whose attention chooses the tokens (scorer probe)",
                              .source = "reference 3.2: heads 0, 1, 2; A5",
                              .maximum = 4095});
  table.add(&P::vote, {.name = "vote",
                       .doc = "how the probe heads' tokens become one set",
                       .source = "semantics 3: top_k, the k tokens with most votes"});
  table.add(&P::similarity_exponent, {.name = "similarity_exponent",
                                      .doc = "alpha of the threshold E^alpha, E = r / (2 - r)",
                                      .source = "A7: 0.6",
                                      .maximum = 100});
  table.add(&P::attention_over, {.name = "attention_over",
                                 .doc = "tokens that attention is charged for",
                                 .source = "semantics 2: prototype full_length, direct kept"});
  table.add_group("reorder", &P::reorder, reorder_params());
  add_identify_params(table);
  add_load_params(table);
  return make_system_entry<P>(
      "impress", "IMPRESS: tokens chosen per layer by probe heads, 64-token K and V blocks (reference 3.2)", table,
      defaults, check, [](const P& params, const SystemEnvironment& environment) {
        return std::make_unique<Impress>(params, environment);
      });
}

}  // namespace reprefill::pipeline
