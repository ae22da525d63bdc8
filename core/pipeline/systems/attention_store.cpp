// AttentionStore as a Re-Prefill baseline (AS+LRU): all K and V of every layer in 64-token blocks (reference 3.3).
#include "core/pipeline/tiered_system.hpp"

namespace reprefill::pipeline {
namespace {

struct AttentionStoreParams : LoadParams {
  std::uint32_t lookahead_layers = 1;
};

class AttentionStore final : public TieredSystem {
 public:
  AttentionStore(const AttentionStoreParams& params, const SystemEnvironment& environment)
      : TieredSystem(params, layout::StoreLayout(environment.geometry, params.kv_layout), environment, Json::object()),
        lookahead_layers_(params.lookahead_layers) {}

  Task serve(Machine& machine, Request& request) override {
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    const Op looked_up = layers.previous_layer();
    const int num_layers = environment_.geometry.num_layers;
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    const std::vector<std::uint32_t> all = all_units(blocks.size());

    WorkspaceLedger workspace(workspace_per_request());
    PinnedPieces pinned;
    std::vector<LoadedLayer> loaded(static_cast<std::size_t>(num_layers));
    std::vector<Op> attended(static_cast<std::size_t>(num_layers));
    int next_load = 0;
    for (int layer = 0; layer < num_layers; ++layer) {
      const int last_load = std::min<int>(num_layers - 1, layer + static_cast<int>(lookahead_layers_));
      for (; next_load <= last_load; ++next_load) {
        // Layer l's load starts when layer l - lookahead starts: one look-ahead behind its attention.
        const int after = next_load - static_cast<int>(lookahead_layers_) - 1;
        Deps deps = looked_up;
        if (after >= 0) deps.add(attended[static_cast<std::size_t>(after)]);
        if (!load_layer(machine, request, blocks, all, next_load, deps, workspace, pinned,
                        loaded[static_cast<std::size_t>(next_load)])) {
          REPREFILL_CHECK(next_load > layer, "layer {} does not fit the workspace", layer);
          break;
        }
      }
      LoadedLayer& mine = loaded[static_cast<std::size_t>(layer)];
      Deps deps = layers.project(layer);
      deps.add(mine.ready);
      layers.attend(layer, everything(request), deps);
      attended[static_cast<std::size_t>(layer)] = layers.previous_layer();
      workspace.release_after(layers.previous_layer(), mine.workspace);
    }
    const Op token = layers.first_token();
    co_await token;
    loader_.unpin(pinned);
  }

  Bytes one_layer_working_set(std::uint32_t stored_tokens) const override {
    return 2 * stored_tokens * tensor_bytes_per_token();
  }

 private:
  struct LoadedLayer {
    Deps ready;
    Bytes workspace;
  };

  bool load_layer(Machine& machine, Request& request, const PrefixUnits& blocks, std::span<const std::uint32_t> all,
                  int layer, const Deps& deps, WorkspaceLedger& workspace, PinnedPieces& pinned, LoadedLayer& loaded) {
    if (blocks.size() == 0) return true;
    const Bytes most = one_layer_working_set(request.stored_tokens);
    const std::optional<Deps> room = workspace.try_reserve(most);
    if (!room) return false;
    std::vector<PieceKey> wanted;
    add_pieces(wanted, blocks, all, layer, {PieceKind::key, PieceKind::value});
    RequestAccount& account = request.account;
    Residency residency;
    loader_.look_up(account, wanted, pinned, residency);
    loaded.workspace = most;
    account.payload_useful += most;
    account.payload_useful_from_reads += residency.missing.bytes;
    account.kv_tokens_in_pieces += 2 * request.stored_tokens;
    account.kv_tokens_kept += 2 * request.stored_tokens;
    account.kv_tokens_stored += 2 * request.stored_tokens;
    Deps all_deps = deps;
    all_deps.add(*room);
    loaded.ready = loader_.fetch(machine, {.request = request.id, .layer_idx = layer}, std::move(residency),
                                 ReadPriority::demand, all_deps, account);
    return true;
  }

  std::uint32_t lookahead_layers_;
};

AttentionStoreParams defaults(PathKind path) {
  AttentionStoreParams params;
  params.cache_policy = "lru";
  params.kv_layout.block_tokens = 64;
  params.lookahead_layers = path == PathKind::prototype ? 1 : 511;
  return params;
}

}  // namespace

SystemEntry attention_store_entry() {
  using P = AttentionStoreParams;
  ParamTable<P> table;
  table.add(&P::lookahead_layers,
            {.name = "lookahead_layers",
             .doc = "layers whose loads may run ahead of compute; more than the model has means all at once",
             .source = "A17: prototype 1 (0 in the IMPRESS prototype); direct: all, bounded by the workspace",
             .unit = "layers",
             .maximum = 511});
  add_load_params(table);
  return make_system_entry<P>(
      "attention_store", "AS+LRU: loads all K and V, layer by layer (reference 3.3)", table, defaults,
      [](P&, const JsonValue&) {},
      [](const P& params, const SystemEnvironment& environment) {
        return std::make_unique<AttentionStore>(params, environment);
      });
}

}  // namespace reprefill::pipeline
