// ContiguousKV: chunks of 16 tokens as the one unit of selection, I/O and caching; one selection per period of layers;
// asynchronous reads within a period and across its end (reference 3.1, semantics 3).
#include <algorithm>

#include "core/pipeline/identification.hpp"
#include "core/pipeline/systems/contiguous_kv_params.hpp"
#include "core/pipeline/tiered_system.hpp"

namespace reprefill::pipeline {
namespace {

using Params = ContiguousKvParams;

/// Policies that keep scores take the size of their table; LRU has none.
Json policy_params(const Params& params) {
  Json json = Json::object();
  if (params.cache_policy != "lru") json["score_table_entries"] = params.score_table_entries;
  return json;
}

/// One layer's load, from the decision to the operation that attention depends on.
struct LayerLoad {
  int layer_idx = 0;
  Residency residency;
  Deps ready;  // of prefetched pieces that are used
  std::vector<PieceKey> from_prefetch;
  bool ahead = false;  // charged to the prefetch quota and issued with its batch
  bool issued = false;
  Bytes workspace;
};

/// What inter-period prefetch reads for one layer of the next period.
struct LayerPrefetch {
  int layer_idx = 0;
  PieceList pieces;
  std::vector<PrefetchOps> operations;  // per piece, or one for all

  const PrefetchOps& operations_of(std::size_t piece) const { return operations[operations.size() == 1 ? 0 : piece]; }
};

/// Keys of a leader that are on their way before its turn.
struct KeysAhead {
  int leader = -1;
  Deps ready;
  Bytes charged;  // to the prefetch quota
  PinnedPieces pinned;
};

/// The state of one request between its periods.
struct Run {
  Run(LayerRunner runner, WorkspaceLedger ledger) : layers(std::move(runner)), workspace(std::move(ledger)) {}
  LayerRunner layers;
  WorkspaceLedger workspace;
  PinnedPieces pinned;
  PinnedPieces pinned_keys;
  Bytes charged_ahead;  // intra-period prefetch of the current period
  std::vector<LayerPrefetch> prefetches;
  KeysAhead keys_ahead;
};

class ContiguousKv final : public TieredSystem {
 public:
  ContiguousKv(const Params& params, const SystemEnvironment& environment)
      : TieredSystem(params, layout::StoreLayout(environment.geometry, params.kv_layout, auxiliary_slabs(params)),
                     environment, policy_params(params), params.prefetch_gpu,
                     params.prefetch_host + identification_bytes(params, params.host_cache)),
        params_(params),
        keys_(params, params.host_cache, loader_),
        gpu_quota_(params.prefetch_gpu),
        host_quota_(params.prefetch_host) {}

  Task serve(Machine& machine, Request& request) override {
    Run run(LayerRunner(machine, request, environment_, load_.prefill_block_tokens, &loader_),
            WorkspaceLedger(workspace_per_request()));
    run.layers.begin();
    const PrefixUnits chunks(request.stored_prefix, params_.chunk_tokens);
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    const int num_layers = environment_.geometry.num_layers;
    for (int leader = 0; leader < num_layers; leader += params_.period_layers) {
      const int end = std::min(num_layers, leader + params_.period_layers);
      const Deps projected = run.layers.project(leader);
      if (chunks.size() == 0) {
        compute_without_prefix(run, leader, end, projected);
        continue;
      }
      const ScoreOp scores = identify(run, leader, projected);
      const SelectOp chosen =
          machine.select(run.layers.context(leader), scores, {.k = params_.budget.ceil_of(chunks.size())});
      co_await Op(chosen);
      ++request.account.num_identifications;
      finish_previous_period(run);

      const TouchedBlocks wanted = note_selection(run, *chosen, *scores, blocks, leader, end);
      std::vector<LayerLoad> loads = look_up_period(run, wanted, blocks, leader, end);
      std::vector<LayerPrefetch> next = plan_prefetch(run, wanted, blocks, end);
      compute_period(run, loads, std::move(next), view(request, chosen), projected, end);
    }
    const Op token = run.layers.first_token();
    co_await token;
    finish_previous_period(run);
    REPREFILL_CHECK(run.prefetches.empty(), "request {} ends with prefetches that no period claimed", request.id);
  }

  bool timing_dependent() const override { return params_.prefetch_drop == PrefetchDrop::unsubmitted; }
  cache::TieredCache* identification_cache() override { return keys_.cache(); }
  bool pins_identification_keys() const override { return keys_.pins_all(); }
  bool scores_on_host() const override {
    return params_.scorer != KeyDigest::none && params_.digest_scoring == DigestScoring::host;
  }

  /// Keys of a whole layer for scoring, and the chosen chunks of one layer. A digest is mostly smaller, but the layer
  /// that is read ahead of this one counts on the keys' room too.
  bool prunes() const override { return !params_.budget.is_everything(); }
  Bytes one_layer_working_set(std::uint32_t stored_tokens) const override {
    const std::uint64_t chunks = divide_rounding_up(stored_tokens, params_.chunk_tokens);
    const Bytes digest = key_digest_bytes(environment_.geometry, params_.scorer, params_.chunk_tokens, stored_tokens);
    return std::max(stored_tokens * tensor_bytes_per_token(), digest) +
           2 * params_.budget.ceil_of(chunks) * load_.kv_layout.block_tokens * tensor_bytes_per_token();
  }

 private:
  void compute_without_prefix(Run& run, int leader, int end, const Deps& leader_projected) {
    for (int layer = leader; layer < end; ++layer) {
      const Deps projected = layer == leader ? leader_projected : run.layers.project(layer);
      run.layers.attend(layer, KvView{}, projected);
    }
  }

  /// Reads all keys of the leader and scores every chunk: the only point where compute waits for identification.
  ScoreOp identify(Run& run, int leader, const Deps& projected) {
    Request& request = run.layers.request();
    Deps deps = keys_of(run, leader);
    deps.add(projected);
    const ScoreSpec spec{.unit_tokens = params_.chunk_tokens,
                         .digest = params_.scorer,
                         .runs_on_host = scores_on_host(),
                         .repeats_projection = environment_.path.scoring_repeats_projection};
    return run.layers.machine().score(run.layers.context(leader), request, spec, deps);
  }

  /// Keys of the leader: read now, unless they are under way since the period before.
  Deps keys_of(Run& run, int leader) {
    if (run.keys_ahead.leader == leader) {
      run.pinned_keys = std::move(run.keys_ahead.pinned);
      return run.keys_ahead.ready;
    }
    const PieceList keys = identification_pieces(run.layers.request(), leader, PieceKind::identification_keys);
    return keys_.fetch(run.layers.machine(), run.layers.context(leader), keys, ReadPriority::demand,
                       run.layers.previous_layer(), account(run), run.pinned_keys);
  }

  /// They wait behind what this period has issued, and hold a part of the prefetch buffers until they are scored.
  void prefetch_keys(Run& run, int next_leader) {
    if (!params_.identify_keys_prefetch || next_leader >= environment_.geometry.num_layers) return;
    const PieceList keys = identification_pieces(run.layers.request(), next_leader, PieceKind::identification_keys);
    if (!try_charge(keys.bytes)) {
      account(run).prefetch_pieces_declined += keys.keys.size();
      return;
    }
    run.keys_ahead = {.leader = next_leader, .ready = {}, .charged = keys.bytes, .pinned = {}};
    run.keys_ahead.ready = keys_.fetch(run.layers.machine(), run.layers.context(next_leader), keys,
                                       ReadPriority::prefetch, {}, account(run), run.keys_ahead.pinned);
  }

  /// A selection (or the first token) has been awaited: every layer of the period before is done.
  void finish_previous_period(Run& run) {
    keys_.unpin(run.pinned_keys);
    loader_.unpin(run.pinned);
    give_back(run.charged_ahead + run.keys_ahead.charged);
    run.charged_ahead = run.keys_ahead.charged = Bytes{0};
  }

  void give_back(Bytes size) {
    gpu_quota_.give_back(size);
    host_quota_.give_back(size);
  }

  bool try_charge(Bytes size) {
    if (!gpu_quota_.try_charge(size)) return false;
    if (host_quota_.try_charge(size)) return true;
    gpu_quota_.give_back(size);
    return false;
  }

  std::vector<PieceKey> pieces_of(const TouchedBlocks& wanted, const PrefixUnits& blocks, int layer) const {
    return kv_pieces(blocks, wanted.blocks, layer);
  }

  /// I += A: the leader's score of each chosen chunk counts for that chunk in all layers of the period.
  TouchedBlocks note_selection(Run& run, const SelectResult& chosen, const ScoreResult& scores,
                               const PrefixUnits& blocks, int leader, int end) {
    const std::vector<std::uint32_t>& chunks = chosen.selection->shared();
    const std::uint32_t chunks_per_block = load_.kv_layout.block_tokens / params_.chunk_tokens;
    TouchedBlocks wanted = blocks_of_tokens(chunks, chunks_per_block);
    std::vector<double> importance(wanted.blocks.size(), 0);
    std::size_t block = 0;
    for (const std::uint32_t chunk : chunks) {
      while (wanted.blocks[block] != chunk / chunks_per_block) ++block;
      importance[block] += static_cast<double>(scores.scores.values[chunk]);
    }
    for (int layer = leader; layer < end; ++layer) {
      const std::vector<PieceKey> pieces = pieces_of(wanted, blocks, layer);
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        cache_->note_selected(pieces[i], importance[i % importance.size()]);
      }
    }
    RequestAccount& account = run.layers.request().account;
    const auto num_layers = static_cast<std::uint64_t>(end - leader);
    const std::uint64_t kept_tokens = chunks.size() * std::uint64_t{params_.chunk_tokens};
    account.kv_tokens_kept += 2 * num_layers * kept_tokens;
    account.kv_tokens_in_pieces += 2 * num_layers * wanted.blocks.size() * load_.kv_layout.block_tokens;
    account.kv_tokens_stored += 2 * num_layers * run.layers.request().stored_tokens;
    account.payload_useful += 2 * num_layers * kept_tokens * tensor_bytes_per_token();
    return wanted;
  }

  /// All decisions of the period, in layer order: what is in a tier, in the prefetch buffer, or must be read.
  std::vector<LayerLoad> look_up_period(Run& run, const TouchedBlocks& wanted, const PrefixUnits& blocks, int leader,
                                        int end) {
    std::vector<LayerLoad> loads;
    for (int layer = leader; layer < end; ++layer) {
      LayerLoad load;
      load.layer_idx = layer;
      const std::vector<PieceKey> pieces = pieces_of(wanted, blocks, layer);
      if (!claim_prefetch(run, load, pieces)) loader_.look_up(account(run), pieces, run.pinned, load.residency);
      count_useful_reads(run, load, pieces, wanted);
      if (layer == leader && params_.leader_keys == LeaderKeys::reuse) read_values_only(load.residency.missing);
      const Bytes size = load.residency.loaded_bytes();
      load.workspace = size;
      if (params_.intra_prefetch && layer != leader) {
        load.ahead = try_charge(size);
        if (load.ahead) {
          run.charged_ahead += size;
        } else {
          account(run).prefetch_pieces_declined += load.residency.missing.keys.size();
        }
      }
      loads.push_back(std::move(load));
    }
    REPREFILL_CHECK(run.prefetches.empty(), "prefetches of layer {} belong to no layer of the period at {}",
                    run.prefetches.front().layer_idx, leader);
    return loads;
  }

  static RequestAccount& account(Run& run) { return run.layers.request().account; }

  /// Pieces in the prefetch buffer that are wanted enter a tier now; the others are waste. False: nothing was
  /// prefetched for this layer.
  bool claim_prefetch(Run& run, LayerLoad& load, std::span<const PieceKey> wanted) {
    const auto found = std::find_if(run.prefetches.begin(), run.prefetches.end(), [&](const LayerPrefetch& prefetch) {
      return prefetch.layer_idx == load.layer_idx;
    });
    if (found == run.prefetches.end()) return false;
    RequestAccount& counts = account(run);
    std::vector<PieceKey> others;
    const std::vector<PieceKey>& prefetched = found->pieces.keys;
    std::vector<bool> used(prefetched.size(), false);
    for (const PieceKey key : wanted) {
      const auto match = std::lower_bound(prefetched.begin(), prefetched.end(), key);
      if (match == prefetched.end() || *match != key) {
        others.push_back(key);
        continue;
      }
      const auto position = static_cast<std::size_t>(match - prefetched.begin());
      used[position] = true;
      const Bytes size = loader_.piece_bytes(key);
      const Op& loaded = found->operations_of(position).copied;
      ++counts.pieces_needed;
      counts.payload_needed += size;
      counts.prefetch_used += read_bytes(key, size);
      counts.needed_from_ssd_after_leader += read_bytes(key, size);
      load.ready.add(loaded);
      load.from_prefetch.push_back(key);
      loader_.admit_prefetched(key, loaded, load.residency, run.pinned);
    }
    drop_unused(run, *found, used);
    loader_.look_up(counts, others, run.pinned, load.residency);
    counts.needed_from_ssd_after_leader += load.residency.missing.bytes;
    give_back(found->pieces.bytes);
    run.prefetches.erase(found);
    return true;
  }

  /// With `leader_keys: reuse` a leader's piece is read without its keys.
  Bytes read_bytes(PieceKey key, Bytes size) const {
    if (params_.leader_keys != LeaderKeys::reuse || !is_leader(key.layer_idx())) return size;
    if (key.kind() == PieceKind::key) return Bytes{0};
    return key.kind() == PieceKind::key_value ? Bytes{size.value / 2} : size;
  }

  bool is_leader(int layer_idx) const { return layer_idx % params_.period_layers == 0; }

  void drop_unused(Run& run, const LayerPrefetch& prefetch, const std::vector<bool>& used) {
    if (params_.prefetch_drop == PrefetchDrop::never) return;
    for (std::size_t i = 0; i < used.size(); ++i) {
      if (used[i]) continue;
      const PieceKey key = prefetch.pieces.keys[i];
      loader_.drop_prefetch(run.layers.machine(), prefetch.operations[i], read_bytes(key, loader_.piece_bytes(key)),
                            account(run));
    }
  }

  /// What attention consumes of the pieces that came from the SSD, by demand or by prefetch.
  void count_useful_reads(Run& run, const LayerLoad& load, std::span<const PieceKey> pieces,
                          const TouchedBlocks& wanted) {
    const std::uint64_t tensors = load_.kv_layout.kv == layout::KvPlacement::adjacent ? 2 : 1;
    const auto count = [&](std::span<const PieceKey> from_ssd) {
      std::size_t next = 0;  // in the order of `pieces`
      for (std::size_t i = 0; i < pieces.size() && next < from_ssd.size(); ++i) {
        if (from_ssd[next] != pieces[i]) continue;
        const std::uint64_t chunks = wanted.num_tokens[i % wanted.blocks.size()];
        const Bytes consumed = tensors * chunks * params_.chunk_tokens * tensor_bytes_per_token();
        account(run).payload_useful_from_reads += read_bytes(pieces[i], consumed);
        ++next;
      }
    };
    count(load.residency.missing.keys);
    count(load.from_prefetch);
  }

  /// The leader's keys are on the GPU from scoring: only values are read.
  void read_values_only(PieceList& missing) const {
    PieceList values;
    for (const PieceKey key : missing.keys) {
      if (key.kind() == PieceKind::key) continue;
      const PieceKey value = PieceKey::make(key.segment(), key.layer_idx(), PieceKind::value, key.index());
      values.add(value, loader_.piece_bytes(value));
    }
    missing = std::move(values);
  }

  /// The current selection, for the next period's first layers: what no tier holds and the buffers have room for.
  std::vector<LayerPrefetch> plan_prefetch(Run& run, const TouchedBlocks& wanted, const PrefixUnits& blocks,
                                           int next_leader) {
    std::vector<LayerPrefetch> prefetches;
    if (!params_.inter_prefetch) return prefetches;
    const int span = params_.inter_target == InterTarget::subperiod ? params_.subperiod_layers : params_.period_layers;
    const int end =
        std::min({environment_.geometry.num_layers, next_leader + span, next_leader + params_.period_layers});
    for (int layer = next_leader; layer < end; ++layer) {
      PieceList absent = loader_.not_resident(pieces_of(wanted, blocks, layer));
      LayerPrefetch prefetch;
      prefetch.layer_idx = layer;
      for (const PieceKey key : absent.keys) {
        const Bytes size = loader_.piece_bytes(key);
        if (try_charge(size)) {
          prefetch.pieces.add(key, size);
        } else {
          ++account(run).prefetch_pieces_declined;
        }
      }
      std::sort(prefetch.pieces.keys.begin(), prefetch.pieces.keys.end());
      if (!prefetch.pieces.empty()) prefetches.push_back(std::move(prefetch));
    }
    return prefetches;
  }

  void issue_prefetch(Run& run, LayerPrefetch& prefetch, const Deps& deps) {
    const OpContext context = run.layers.context(prefetch.layer_idx);
    const auto issue = [&](PieceList pieces) {
      if (params_.leader_keys == LeaderKeys::reuse && is_leader(prefetch.layer_idx)) read_values_only(pieces);
      prefetch.operations.push_back(
          pieces.empty() ? PrefetchOps{}
                         : loader_.prefetch(run.layers.machine(), context, std::move(pieces), deps, account(run)));
    };
    if (params_.prefetch_drop == PrefetchDrop::never) {
      issue(prefetch.pieces);
      return;
    }
    for (const PieceKey key : prefetch.pieces.keys) {  // one operation a piece, so that each can be dropped by itself
      PieceList one;
      one.add(key, loader_.piece_bytes(key));
      issue(std::move(one));
    }
  }

  /// Issues a layer's reads if its memory is known to come free; else it waits until its turn.
  bool try_issue(Run& run, LayerLoad& load, ReadPriority priority, const Deps& deps) {
    const std::optional<Deps> room = run.workspace.try_reserve(load.workspace);
    if (!room) return false;
    Deps all = deps;
    all.add(*room);
    load.ready.add(loader_.fetch(run.layers.machine(), run.layers.context(load.layer_idx), std::move(load.residency),
                                 priority, all, account(run)));
    load.issued = true;
    return true;
  }

  /// Batches of a subperiod's layers run one subperiod ahead of compute; what could not go ahead is read when its
  /// layer comes.
  void compute_period(Run& run, std::vector<LayerLoad>& loads, std::vector<LayerPrefetch> next, const KvView& view,
                      const Deps& leader_projected, int next_leader) {
    const auto batch_size = static_cast<std::size_t>(params_.subperiod_layers);
    const auto trigger = std::min<std::size_t>(loads.size(), static_cast<std::size_t>(params_.inter_trigger_layer));
    if (params_.intra_prefetch) issue_batch(run, loads, 0, 0, {});
    for (std::size_t i = 0; i < loads.size(); ++i) {
      // Batch b > 0 depends on the layer before batch b - 1's first layer, which is done with layer i's predecessor.
      if (params_.intra_prefetch && i % batch_size == 0) {
        issue_batch(run, loads, i, i + batch_size, i == 0 ? Deps{} : Deps(run.layers.previous_layer()));
      }
      LayerLoad& load = loads[i];
      if (!load.issued) {
        const Deps deps = i == 0 ? Deps{} : Deps(run.layers.previous_layer());
        const bool fits = try_issue(run, load, ReadPriority::demand, deps);
        REPREFILL_CHECK(fits, "layer {} does not fit the workspace", load.layer_idx);
      }
      if (i == 0) prefetch_keys(run, next_leader);
      Deps ready = i == 0 ? leader_projected : run.layers.project(load.layer_idx);
      ready.add(load.ready);
      run.layers.attend(load.layer_idx, view, ready);
      run.workspace.release_after(run.layers.previous_layer(), load.workspace);
      if (i + 1 == trigger) {
        for (LayerPrefetch& prefetch : next) issue_prefetch(run, prefetch, run.layers.previous_layer());
      }
    }
    run.prefetches = std::move(next);
  }

  /// The layers of the batch that begins at `first`, while compute is at layer `current` of the period. A layer that is
  /// passed over keeps the room that it will need when its turn comes.
  void issue_batch(Run& run, std::vector<LayerLoad>& loads, std::size_t current, std::size_t first, const Deps& deps) {
    const std::size_t end = std::min(loads.size(), first + static_cast<std::size_t>(params_.subperiod_layers));
    for (std::size_t i = first; i < end; ++i) {
      const bool is_leader_load = i == 0;
      if (!loads[i].ahead && !is_leader_load) continue;
      Bytes owed{0};
      for (std::size_t k = current; k < i; ++k) {
        if (!loads[k].issued) owed = std::max(owed, loads[k].workspace);
      }
      if (!run.workspace.has_room(loads[i].workspace + owed)) continue;
      try_issue(run, loads[i], is_leader_load ? ReadPriority::demand : ReadPriority::prefetch, deps);
    }
  }

  KvView view(const Request& request, const SelectOp& chosen) const {
    const auto kept = static_cast<std::uint32_t>(chosen->selection->shared().size()) * params_.chunk_tokens;
    return {.prefix_tokens = request.stored_tokens,
            .kept_k_tokens = kept,
            .kept_v_tokens = kept,
            .kept = chosen->selection,
            .unit_tokens = params_.chunk_tokens};
  }

  Params params_;
  IdentificationKeys keys_;
  PrefetchQuota gpu_quota_;
  PrefetchQuota host_quota_;
};

}  // namespace

SystemEntry contiguous_kv_entry() {
  return make_system_entry<Params>(
      "contiguous_kv",
      "ContiguousKV: one selection of 16-token chunks per period, prefetch within and across (reference 3.1)",
      contiguous_kv_params(), contiguous_kv_defaults, finish_contiguous_kv_params,
      [](const Params& params, const SystemEnvironment& environment) {
        return std::make_unique<ContiguousKv>(params, environment);
      });
}

}  // namespace reprefill::pipeline
