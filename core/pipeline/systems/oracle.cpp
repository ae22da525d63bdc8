// The future known: selections before the request begins, reads issued when it arrives, Belady's rule in the caches. A
// reference for how much is left, not a proven bound (semantics 3).
#include <algorithm>

#include "core/cache/eviction/belady.hpp"
#include "core/pipeline/tiered_system.hpp"

namespace reprefill::pipeline {
namespace {

struct OracleParams : LoadParams {
  Budget budget{1, 20};
  std::uint32_t chunk_tokens = 16;
  int period_layers = 8;
};

class Oracle final : public TieredSystem {
 public:
  Oracle(const OracleParams& params, const SystemEnvironment& environment)
      : Oracle(params, environment, std::make_shared<cache::FutureUses>()) {}

  bool prunes() const override { return !params_.budget.is_everything(); }
  bool foresees() const override { return true; }
  void foresee(const Request& request) override {
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    for (const Period& period : periods(request)) {
      for (int layer = period.leader; layer < period.end; ++layer) {
        for (const PieceKey piece : kv_pieces(blocks, period.wanted.blocks, layer)) future_->add(piece);
      }
    }
  }

  Task serve(Machine& machine, Request& request) override {
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    const int num_layers = environment_.geometry.num_layers;
    const std::vector<Period> known = periods(request);
    const auto period_of = [&](int layer) -> const Period& {
      return known[static_cast<std::size_t>(layer / params_.period_layers)];
    };

    WorkspaceLedger workspace(workspace_per_request());
    PinnedPieces pinned;
    std::vector<LoadedLayer> loaded(static_cast<std::size_t>(num_layers));
    int next_load = 0;
    for (int layer = 0; layer < num_layers; ++layer) {
      if (known.empty()) {
        const Deps projected = layers.project(layer);
        layers.attend(layer, KvView{}, projected);
        continue;
      }
      // All that the workspace has room for goes ahead; what does not fit waits for the first layers to be done.
      while (next_load < num_layers && load_layer(layers, blocks, period_of(next_load), next_load, workspace, pinned,
                                                  loaded[static_cast<std::size_t>(next_load)])) {
        ++next_load;
      }
      REPREFILL_CHECK(next_load > layer, "layer {} does not fit the workspace", layer);
      const LoadedLayer& mine = loaded[static_cast<std::size_t>(layer)];
      Deps ready = layers.project(layer);
      ready.add(mine.ready);
      layers.attend(layer, view(request, period_of(layer)), ready);
      workspace.release_after(layers.previous_layer(), mine.workspace);
    }
    const Op token = layers.first_token();
    co_await token;
    loader_.unpin(pinned);
  }

  Bytes one_layer_working_set(std::uint32_t stored_tokens) const override {
    const std::uint64_t chunks = divide_rounding_up(stored_tokens, params_.chunk_tokens);
    return 2 * params_.budget.ceil_of(chunks) * load_.kv_layout.block_tokens * tensor_bytes_per_token();
  }

 private:
  Oracle(const OracleParams& params, const SystemEnvironment& environment, std::shared_ptr<cache::FutureUses> future)
      // The identification keys of contiguous_kv's layout are not read; they let both open the same copy of a store.
      : TieredSystem(params,
                     layout::StoreLayout(environment.geometry, params.kv_layout,
                                         {.identification_period = params.period_layers}),
                     environment, cache::make_belady(future)),
        params_(params),
        future_(std::move(future)) {}

  /// Layers that share one selection.
  struct Period {
    int leader = 0;
    int end = 0;
    std::shared_ptr<const Selection> kept;
    TouchedBlocks wanted;
  };
  struct LoadedLayer {
    Deps ready;
    Bytes workspace;
  };

  /// Empty for a request without stored prefix.
  std::vector<Period> periods(const Request& request) const {
    std::vector<Period> all;
    const PrefixUnits chunks(request.stored_prefix, params_.chunk_tokens);
    if (chunks.size() == 0) return all;
    REPREFILL_CHECK(environment_.importance != nullptr, "oracle has no scores to know beforehand");
    Scores scores{.values = std::vector<float>(chunks.size()), .num_groups = 1, .num_units = chunks.size()};
    const int num_layers = environment_.geometry.num_layers;
    for (int leader = 0; leader < num_layers; leader += params_.period_layers) {
      environment_.importance->unit_scores({.request = request.importance_id,
                                            .task = request.task,
                                            .prefix = request.stored_prefix,
                                            .layer_idx = leader,
                                            .grouping = traces::HeadGrouping::all_heads},
                                           static_cast<int>(params_.chunk_tokens), scores.values);
      auto kept = std::make_shared<const Selection>(
          select_units(scores, {.k = params_.budget.ceil_of(std::uint64_t{chunks.size()})}));
      TouchedBlocks wanted = blocks_of_tokens(kept->shared(), load_.kv_layout.block_tokens / params_.chunk_tokens);
      all.push_back({.leader = leader,
                     .end = std::min(num_layers, leader + params_.period_layers),
                     .kept = std::move(kept),
                     .wanted = std::move(wanted)});
    }
    return all;
  }

  /// Reads depend on nothing but memory: not even on the look-up.
  bool load_layer(LayerRunner& layers, const PrefixUnits& blocks, const Period& period, int layer,
                  WorkspaceLedger& workspace, PinnedPieces& pinned, LoadedLayer& loaded) {
    Request& request = layers.request();
    const Bytes most = one_layer_working_set(request.stored_tokens);
    const std::optional<Deps> room = workspace.try_reserve(most);
    if (!room) return false;
    loaded.workspace = most;
    const std::vector<PieceKey> wanted = kv_pieces(blocks, period.wanted.blocks, layer);
    Residency residency;
    loader_.look_up(request.account, wanted, pinned, residency);
    count(request, period, wanted, residency.missing.keys);
    loaded.ready = loader_.fetch(layers.machine(), layers.context(layer), std::move(residency), ReadPriority::demand,
                                 *room, request.account);
    return true;
  }

  void count(Request& request, const Period& period, std::span<const PieceKey> wanted,
             std::span<const PieceKey> missing) const {
    RequestAccount& account = request.account;
    const std::uint64_t tensors = load_.kv_layout.kv == layout::KvPlacement::adjacent ? 2 : 1;
    std::size_t next = 0;  // both lists are in one order
    for (std::size_t i = 0; i < wanted.size() && next < missing.size(); ++i) {
      if (missing[next] != wanted[i]) continue;
      const std::uint64_t chunks = period.wanted.num_tokens[i % period.wanted.blocks.size()];
      account.payload_useful_from_reads += tensors * chunks * params_.chunk_tokens * tensor_bytes_per_token();
      ++next;
    }
    const std::uint64_t kept_tokens = period.kept->shared().size() * std::uint64_t{params_.chunk_tokens};
    account.payload_useful += 2 * kept_tokens * tensor_bytes_per_token();
    account.kv_tokens_kept += 2 * kept_tokens;
    account.kv_tokens_in_pieces += 2 * period.wanted.blocks.size() * std::uint64_t{load_.kv_layout.block_tokens};
    account.kv_tokens_stored += 2 * request.stored_tokens;
  }

  KvView view(const Request& request, const Period& period) const {
    const auto kept = static_cast<std::uint32_t>(period.kept->shared().size()) * params_.chunk_tokens;
    return {.prefix_tokens = request.stored_tokens,
            .kept_k_tokens = kept,
            .kept_v_tokens = kept,
            .kept = period.kept,
            .unit_tokens = params_.chunk_tokens};
  }

  OracleParams params_;
  std::shared_ptr<cache::FutureUses> future_;  // shared with the policy
};

OracleParams defaults(PathKind) {
  OracleParams params;
  params.kv_layout.kv = layout::KvPlacement::adjacent;
  return params;
}

void finish(OracleParams& params, const JsonValue& object) {
  if (!object.has("kv_layout") || !object.key("kv_layout").has("block_tokens")) {
    params.kv_layout.block_tokens = params.chunk_tokens;
  }
  if (params.kv_layout.block_tokens % params.chunk_tokens != 0) {
    object.fail(fmt::format("kv_layout.block_tokens: found {}; expected a multiple of chunk_tokens ({})",
                            params.kv_layout.block_tokens, params.chunk_tokens));
  }
}

}  // namespace

SystemEntry oracle_entry() {
  using P = OracleParams;
  ParamTable<P> table;
  table.add(&P::budget, budget_info())
      .add(&P::chunk_tokens,
           {.name = "chunk_tokens",
            .doc = "unit of selection; of I/O and caching too, unless kv_layout.block_tokens is larger",
            .source = "reference 3.1: 16",
            .unit = "tokens",
            .minimum = 1,
            .maximum = 4096})
      .add(&P::period_layers, {.name = "period_layers",
                               .doc = "layers that share one selection",
                               .source = "reference 3.1: 8",
                               .unit = "layers",
                               .minimum = 1,
                               .maximum = 511});
  add_tier_params(table);
  SystemEntry entry = make_system_entry<P>(
      "oracle", "selections known before the request, all reads at its arrival, Belady eviction (semantics 3)", table,
      defaults, finish, [](const P& params, const SystemEnvironment& environment) {
        return std::make_unique<Oracle>(params, environment);
      });
  entry.needs_selections = true;
  return entry;
}

}  // namespace reprefill::pipeline
