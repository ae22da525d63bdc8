// AS+H2O: all K of a layer, then only the V blocks that hold selected tokens (reference 3.4).
#include <array>
#include <bit>

#include "core/pipeline/tiered_system.hpp"

namespace reprefill::pipeline {
namespace {

struct AsH2oParams : LoadParams {
  Budget budget{1, 20};
  AttentionOver attention_over = AttentionOver::kept;
};

/// Chosen tokens of all heads in each block. Tokens ascend, so that four of them in a row mostly lie in one block: four
/// counters for each, lest every increment waits for the one before.
std::vector<std::uint32_t> tokens_by_block(const Selection& selection, std::uint32_t block_tokens,
                                           std::size_t num_blocks) {
  constexpr std::size_t kCounters = 4;
  const bool shifts = std::has_single_bit(block_tokens);
  const int shift = std::countr_zero(block_tokens);
  std::vector<std::array<std::uint32_t, kCounters>> counters(num_blocks);
  for (const auto& tokens : selection.groups) {
    for (std::size_t i = 0; shifts && i < tokens.size(); ++i) ++counters[tokens[i] >> shift][i % kCounters];
    for (std::size_t i = 0; !shifts && i < tokens.size(); ++i) ++counters[tokens[i] / block_tokens][i % kCounters];
  }
  std::vector<std::uint32_t> sums;
  for (const auto& of_block : counters) sums.push_back((of_block[0] + of_block[1]) + (of_block[2] + of_block[3]));
  return sums;
}

class AsH2o final : public TieredSystem {
 public:
  AsH2o(const AsH2oParams& params, const SystemEnvironment& environment)
      : TieredSystem(params, layout::StoreLayout(environment.geometry, params.kv_layout), environment, Json::object()),
        params_(params) {}

  /// Per layer and strictly in this order: read keys, score, select, read values, attend.
  Task serve(Machine& machine, Request& request) override {
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    const std::vector<std::uint32_t> all = all_units(blocks.size());
    PinnedPieces pinned;
    for (int layer = 0; layer < environment_.geometry.num_layers; ++layer) {
      if (blocks.size() == 0) {
        const Deps projected = layers.project(layer);
        layers.attend(layer, KvView{}, projected);
        continue;
      }
      const OpContext context = layers.context(layer);
      const Op before = layers.previous_layer();
      PinnedPieces keys_pinned;
      Deps scored_on = load_keys(machine, request, blocks, all, context, before, keys_pinned);
      const Deps projected = layers.project(layer);
      scored_on.add(projected);
      const ScoreSpec spec{.grouping = traces::HeadGrouping::per_kv_head,
                           .unit_tokens = 1,
                           .repeats_projection = environment_.path.scoring_repeats_projection,
                           .only_for_selection = true};
      const ScoreOp scores = machine.score(context, request, spec, scored_on);
      const SelectOp chosen = machine.select(context, scores, rule(request));
      co_await Op(chosen);
      ++request.account.num_identifications;
      loader_.unpin(pinned);  // the layer before is done
      pinned = std::move(keys_pinned);

      Deps ready = load_values(machine, request, blocks, *chosen->selection, context, pinned);
      ready.add(projected);
      layers.attend(layer, view(request, chosen), ready);
    }
    const Op token = layers.first_token();
    co_await token;
    loader_.unpin(pinned);
  }

  bool prunes() const override { return !params_.budget.is_everything(); }
  Bytes one_layer_working_set(std::uint32_t stored_tokens) const override {
    return 2 * stored_tokens * tensor_bytes_per_token();
  }

 private:
  SelectionRule rule(const Request& request) const {
    return {.mode = SelectionMode::top_k_per_group, .k = params_.budget.ceil_of(request.stored_tokens)};
  }

  Deps load_keys(Machine& machine, Request& request, const PrefixUnits& blocks, std::span<const std::uint32_t> all,
                 OpContext context, const Op& before, PinnedPieces& pinned) {
    std::vector<PieceKey> wanted;
    add_pieces(wanted, blocks, all, context.layer_idx, {PieceKind::key});
    RequestAccount& account = request.account;
    Residency residency;
    loader_.look_up(account, wanted, pinned, residency);
    account.payload_useful += request.stored_tokens * tensor_bytes_per_token();
    account.payload_useful_from_reads += residency.missing.bytes;
    account.kv_tokens_in_pieces += request.stored_tokens;
    return loader_.fetch(machine, context, std::move(residency), ReadPriority::demand, before, account);
  }

  /// A block of values is read when any KV head chose a token in it; each head consumes only its own tokens.
  Deps load_values(Machine& machine, Request& request, const PrefixUnits& blocks, const Selection& selection,
                   OpContext context, PinnedPieces& pinned) {
    const std::uint32_t block_tokens = load_.kv_layout.block_tokens;
    const std::vector<std::uint32_t> chosen_in_block = tokens_by_block(selection, block_tokens, blocks.size());
    std::uint64_t chosen_tokens = 0;
    for (const auto& tokens : selection.groups) chosen_tokens += tokens.size();
    std::vector<std::uint32_t> touched;
    for (std::uint32_t block = 0; block < blocks.size(); ++block) {
      if (chosen_in_block[block] > 0) touched.push_back(block);
    }
    std::vector<PieceKey> wanted;
    add_pieces(wanted, blocks, touched, context.layer_idx, {PieceKind::value});
    RequestAccount& account = request.account;
    Residency residency;
    loader_.look_up(account, wanted, pinned, residency);

    const Bytes per_head_token{tensor_bytes_per_token().value /
                               static_cast<std::uint64_t>(environment_.geometry.num_kv_heads)};
    account.payload_useful += chosen_tokens * per_head_token;
    std::size_t next_missing = 0;  // both lists ascend
    for (std::size_t i = 0; i < touched.size() && next_missing < residency.missing.keys.size(); ++i) {
      if (residency.missing.keys[next_missing] != wanted[i]) continue;
      account.payload_useful_from_reads += chosen_in_block[touched[i]] * per_head_token;
      ++next_missing;
    }
    account.kv_tokens_in_pieces += std::uint64_t{block_tokens} * touched.size();
    account.kv_tokens_kept += request.stored_tokens + chosen_tokens / selection.groups.size();
    account.kv_tokens_stored += 2 * request.stored_tokens;
    return loader_.fetch(machine, context, std::move(residency), ReadPriority::demand, {}, account);
  }

  KvView view(const Request& request, const SelectOp& chosen) const {
    return {.prefix_tokens = request.stored_tokens,
            .kept_k_tokens = request.stored_tokens,
            .kept_v_tokens = static_cast<std::uint32_t>(chosen->selection->groups.front().size()),
            .full_length = params_.attention_over == AttentionOver::full_length,
            .kept = chosen->selection,
            .unit_tokens = 1,
            .grouping = traces::HeadGrouping::per_kv_head};
  }

  AsH2oParams params_;
};

AsH2oParams defaults(PathKind path) {
  AsH2oParams params;
  params.cache_policy = "lru";
  params.kv_layout.block_tokens = 64;
  params.attention_over = path == PathKind::prototype ? AttentionOver::full_length : AttentionOver::kept;
  return params;
}

}  // namespace

SystemEntry as_h2o_entry() {
  using P = AsH2oParams;
  ParamTable<P> table;
  table.add(&P::budget, budget_info());
  table.add(&P::attention_over, {.name = "attention_over",
                                 .doc = "tokens that attention is charged for",
                                 .source = "semantics 2: prototype full_length, direct kept"});
  add_load_params(table);
  return make_system_entry<P>(
      "as_h2o", "AS+H2O: all keys, then the values of the top tokens of each KV head (reference 3.4)", table, defaults,
      [](P&, const JsonValue&) {},
      [](const P& params, const SystemEnvironment& environment) {
        return std::make_unique<AsH2o>(params, environment);
      });
}

}  // namespace reprefill::pipeline
