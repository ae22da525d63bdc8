// AttentionStore as a Re-Prefill baseline (AS+LRU): all K and V of every layer in 64-token blocks (reference 3.3). With
// other blocks and another order of loads it is what engineers run: `lmcache_like`, `hicache_like` (reference 6).
#include <algorithm>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/pipeline/systems/attention_store_params.hpp"
#include "core/pipeline/tiered_system.hpp"

namespace reprefill::pipeline {
namespace {

using Params = AttentionStoreParams;

/// How often a waiting request looks whether its reads are done, as a scheduler does between two steps.
constexpr Nanoseconds kPollInterval{1'000'000};

class AttentionStore final : public TieredSystem {
 public:
  AttentionStore(const Params& params, const SystemEnvironment& environment)
      : TieredSystem(params, layout::StoreLayout(environment.geometry, params.kv_layout), environment, Json::object()),
        params_(params) {
    if (params.scheduler_lookahead > 0) loader_.track_fills();
  }

  Task serve(Machine& machine, Request& request) override {
    if (params_.load == LoadOrder::layer_wise) return serve_layer_wise(machine, request);
    if (terminates()) return serve_what_came(machine, request);
    return serve_whole(machine, request);
  }

  bool timing_dependent() const override { return terminates() || params_.scheduler_lookahead > 0; }
  std::uint32_t scheduler_lookahead() const override { return params_.scheduler_lookahead; }

  /// A waiting request's KV comes to the host tier, where it stays until the request has been served.
  void announce(Machine& machine, Request& request) override {
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    const std::vector<std::uint32_t> all = all_units(blocks.size());
    std::vector<PieceKey> wanted;
    for (int layer = 0; layer < num_layers(); ++layer) append(wanted, kv_pieces(blocks, all, layer));
    in_object_order(wanted);
    loader_.bring_to_host(machine, {.request = request.id}, loader_.not_resident(wanted).keys, announced_[request.id],
                          request.account);
  }

  Bytes one_layer_working_set(std::uint32_t stored_tokens) const override {
    const Bytes layer = layer_bytes(stored_tokens);
    return params_.load == LoadOrder::load_then_compute ? static_cast<std::uint64_t>(num_layers()) * layer : layer;
  }
  Bytes largest_read(std::uint32_t stored_tokens) const override {
    const Bytes read = TieredSystem::largest_read(stored_tokens);
    return params_.load == LoadOrder::host_first ? static_cast<std::uint64_t>(num_layers()) * read : read;
  }

 private:
  struct LoadedLayer {
    Deps ready;
    Bytes workspace;
  };
  /// One block over all layers, read by itself.
  struct Page {
    std::vector<PieceKey> missing;
    ReadOp read;
  };

  bool terminates() const {
    return params_.load == LoadOrder::host_first && params_.prefetch_policy != PrefetchPolicy::wait_complete;
  }
  int num_layers() const { return environment_.geometry.num_layers; }
  Bytes layer_bytes(std::uint32_t stored_tokens) const { return 2 * stored_tokens * tensor_bytes_per_token(); }
  static void append(std::vector<PieceKey>& all, std::vector<PieceKey> more) {
    all.insert(all.end(), more.begin(), more.end());
  }
  /// Block by block, and within a block as the file has it: what lies together in one block is one object.
  void in_object_order(std::vector<PieceKey>& pieces) const {
    if (load_.kv_layout.order != layout::KvOrder::chunk_major) return;
    std::stable_sort(pieces.begin(), pieces.end(), [](PieceKey a, PieceKey b) {
      const auto rank = [](PieceKey key) {
        return std::tuple(key.segment().value, key.index(), key.kind() == PieceKind::value, key.layer_idx());
      };
      return rank(a) < rank(b);
    });
  }

  Task serve_layer_wise(Machine& machine, Request& request) {
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    const std::shared_ptr<const Selection> behind = split(machine, request, blocks);
    const std::vector<std::uint32_t>& wanted = behind->shared();
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    const Op looked_up = layers.previous_layer();

    WorkspaceLedger workspace(workspace_per_request());
    PinnedPieces pinned;
    std::vector<LoadedLayer> loaded(static_cast<std::size_t>(num_layers()));
    std::vector<Op> attended(static_cast<std::size_t>(num_layers()));
    int next_load = 0;
    for (int layer = 0; layer < num_layers(); ++layer) {
      const int last_load = std::min<int>(num_layers() - 1, layer + static_cast<int>(params_.lookahead_layers));
      for (; next_load <= last_load; ++next_load) {
        // Layer l's load starts when layer l - lookahead starts: one look-ahead behind its attention.
        const int after = next_load - static_cast<int>(params_.lookahead_layers) - 1;
        Deps deps = looked_up;
        if (after >= 0) deps.add(attended[static_cast<std::size_t>(after)]);
        if (!load_layer(machine, request, blocks, wanted, next_load, deps, workspace, pinned,
                        loaded[static_cast<std::size_t>(next_load)])) {
          REPREFILL_CHECK(next_load > layer, "layer {} does not fit the workspace", layer);
          break;
        }
      }
      if (request.front_tokens > 0) loaded[static_cast<std::size_t>(layer)].ready.add(layers.compute_front(layer));
      compute_layer(layers, layer, loaded[static_cast<std::size_t>(layer)], workspace, view(request, behind));
      attended[static_cast<std::size_t>(layer)] = layers.previous_layer();
    }
    const Op token = layers.first_token();
    co_await token;
    unpin(request, pinned);
  }

  /// Everything is looked up and read at once, as one list, so that an object may span all layers.
  Task serve_whole(Machine& machine, Request& request) {
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    PinnedPieces pinned;
    std::vector<Residency> found = look_up_all(request, blocks, pinned);
    const ReadOp read = read_missing(machine, request, found, layers.previous_layer());
    const Deps begin = read ? Deps(Op(read)) : Deps(layers.previous_layer());
    copy_and_compute(layers, found, begin, read);
    const Op token = layers.first_token();
    co_await token;
    unpin(request, pinned);
  }

  /// host_first with a limit on the wait: leading pages that are in memory when it ends are used, the rest of the
  /// prefix is computed. Reads that are not submitted by then are taken back, the others are waste.
  Task serve_what_came(Machine& machine, Request& request) {
    LayerRunner layers(machine, request, environment_, load_.prefill_block_tokens, &loader_);
    layers.begin();
    const Op looked_up = layers.previous_layer();
    std::vector<Page> pages = read_pages(machine, request, looked_up);
    co_await looked_up;
    const OpContext context = layers.context(-1);
    Nanoseconds waited{0};
    const Nanoseconds limit = wait_limit(request);
    while (waited < limit && !std::all_of(pages.begin(), pages.end(), has_come)) {
      const Nanoseconds slice = std::min(kPollInterval, limit - waited);
      const Op poll =
          machine.host(context, {.kind = HostTaskKind::wait, .count = static_cast<std::uint64_t>(slice.value)}, {});
      co_await poll;
      waited += slice;
    }
    PinnedPieces pinned;
    keep_what_came(machine, request, pages);
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    std::vector<Residency> found = look_up_came(request, blocks, pages, pinned);
    copy_and_compute(layers, found, layers.previous_layer(), nullptr);
    const Op token = layers.first_token();
    co_await token;
    unpin(request, pinned);
  }

  Nanoseconds wait_limit(const Request& request) const {
    if (params_.prefetch_policy == PrefetchPolicy::best_effort) return Nanoseconds{0};
    return params_.timeout_base + Nanoseconds{params_.timeout_per_1024_tokens.value * request.stored_tokens / 1024};
  }

  void unpin(const Request& request, PinnedPieces& pinned) {
    loader_.unpin(pinned);
    const auto announced = announced_.find(request.id);
    if (announced == announced_.end()) return;
    loader_.unpin(announced->second);
    announced_.erase(announced);
  }

  void count_layer(Request& request, Bytes from_ssd) const {
    RequestAccount& account = request.account;
    const std::uint32_t loaded = loaded_tokens(request);
    account.payload_useful += layer_bytes(loaded);
    account.payload_useful_from_reads += from_ssd;
    account.kv_tokens_in_pieces += 2 * loaded;
    account.kv_tokens_kept += 2 * loaded;
    account.kv_tokens_stored += 2 * loaded;
  }

  /// Blocks that are loaded: all, or those behind the split, where the request computes what is in front of it.
  std::shared_ptr<const Selection> split(Machine& machine, Request& request, const PrefixUnits& blocks) const {
    const std::uint32_t first = std::min(params_.split_tokens / load_.kv_layout.block_tokens, blocks.size());
    std::vector<std::uint32_t> behind = all_units(blocks.size());
    behind.erase(behind.begin(), behind.begin() + first);
    if (first > 0) {
      request.compute_front(first * load_.kv_layout.block_tokens);
      machine.own_tokens_changed(request);
    }
    return std::make_shared<const Selection>(Selection{.groups = {std::move(behind)}});
  }

  KvView view(const Request& request, const std::shared_ptr<const Selection>& behind) const {
    if (request.front_tokens == 0) return everything(request);
    const std::uint32_t loaded = loaded_tokens(request);
    return {.prefix_tokens = request.stored_tokens,
            .kept_k_tokens = loaded,
            .kept_v_tokens = loaded,
            .kept = behind,
            .unit_tokens = load_.kv_layout.block_tokens,
            .rest_is_computed = true};
  }
  static std::uint32_t loaded_tokens(const Request& request) { return request.stored_tokens - request.front_tokens; }

  void compute_layer(LayerRunner& layers, int layer, const LoadedLayer& loaded, WorkspaceLedger& workspace,
                     const KvView& view) {
    Deps deps = layers.project(layer);
    deps.add(loaded.ready);
    layers.attend(layer, view, deps);
    workspace.release_after(layers.previous_layer(), loaded.workspace);
  }

  bool load_layer(Machine& machine, Request& request, const PrefixUnits& blocks, std::span<const std::uint32_t> all,
                  int layer, const Deps& deps, WorkspaceLedger& workspace, PinnedPieces& pinned, LoadedLayer& loaded) {
    if (all.empty()) return true;
    const Bytes most = layer_bytes(loaded_tokens(request));
    const std::optional<Deps> room = workspace.try_reserve(most);
    if (!room) return false;
    Residency residency;
    loader_.look_up(request.account, kv_pieces(blocks, all, layer), pinned, residency);
    loaded.workspace = most;
    count_layer(request, residency.missing.bytes);
    Deps all_deps = deps;
    all_deps.add(*room);
    loaded.ready = loader_.fetch(machine, {.request = request.id, .layer_idx = layer}, std::move(residency),
                                 ReadPriority::demand, all_deps, request.account);
    return true;
  }

  std::vector<Residency> look_up_all(Request& request, const PrefixUnits& blocks, PinnedPieces& pinned) {
    const std::vector<std::uint32_t> all = all_units(blocks.size());
    std::vector<Residency> found(static_cast<std::size_t>(num_layers()));
    for (int layer = 0; layer < num_layers() && blocks.size() > 0; ++layer) {
      Residency& residency = found[static_cast<std::size_t>(layer)];
      loader_.look_up(request.account, kv_pieces(blocks, all, layer), pinned, residency);
      count_layer(request, residency.missing.bytes);
    }
    return found;
  }

  ReadOp read_missing(Machine& machine, Request& request, std::span<const Residency> found, const Deps& deps) {
    std::vector<PieceKey> missing;
    for (const Residency& residency : found) append(missing, residency.missing.keys);
    if (missing.empty()) return nullptr;
    in_object_order(missing);
    return loader_.read_missing(machine, {.request = request.id}, std::move(missing), ReadPriority::demand, deps,
                                request.account);
  }

  /// Layer by layer: copies one look-ahead ahead of compute; the first layer begins with `begin`, or with everything.
  void copy_and_compute(LayerRunner& layers, std::vector<Residency>& found, const Deps& begin, const ReadOp& read) {
    Request& request = layers.request();
    WorkspaceLedger workspace(workspace_per_request());
    const bool at_once = params_.load == LoadOrder::load_then_compute;
    const int ahead = at_once ? num_layers() : static_cast<int>(params_.lookahead_layers);
    std::vector<LoadedLayer> loaded(found.size());
    std::vector<Op> attended(found.size());
    int next_copy = 0;
    Deps everything_loaded = begin;
    for (int layer = 0; layer < num_layers(); ++layer) {
      for (; next_copy < num_layers() && next_copy <= layer + ahead && request.stored_tokens > 0; ++next_copy) {
        const auto next = static_cast<std::size_t>(next_copy);
        const Bytes most = layer_bytes(request.stored_tokens);
        const std::optional<Deps> room = workspace.try_reserve(most);
        REPREFILL_CHECK(room || next_copy > layer, "layer {} does not fit the workspace", layer);
        if (!room) break;
        Deps deps = begin;
        deps.add(*room);
        if (next_copy > ahead) deps.add(attended[next - static_cast<std::size_t>(ahead) - 1]);
        loaded[next] = {.ready = loader_.fetch(layers.machine(), layers.context(next_copy), std::move(found[next]),
                                               ReadPriority::demand, deps, request.account, read),
                        .workspace = most};
        everything_loaded.add(loaded[next].ready);
      }
      if (layer == 0) layers.start_after(at_once ? everything_loaded : begin);
      compute_layer(layers, layer, loaded[static_cast<std::size_t>(layer)], workspace, everything(request));
      attended[static_cast<std::size_t>(layer)] = layers.previous_layer();
    }
  }

  // ---- host_first with best_effort or timeout ----

  static bool has_come(const Page& page) { return !page.read || page.read->done(); }

  std::vector<PieceKey> page_pieces(const PrefixUnits& blocks, std::uint32_t page) const {
    std::vector<PieceKey> pieces;
    for (int layer = 0; layer < num_layers(); ++layer) append(pieces, kv_pieces(blocks, std::span(&page, 1), layer));
    in_object_order(pieces);
    return pieces;
  }

  /// In the order of the prefix. Pages beyond the staging memory are not read.
  std::vector<Page> read_pages(Machine& machine, Request& request, const Op& looked_up) {
    const PrefixUnits blocks(request.stored_prefix, load_.kv_layout.block_tokens);
    std::vector<Page> pages(blocks.size());
    PrefetchQuota quota(load_.staging);
    for (std::uint32_t number = 0; number < blocks.size(); ++number) {
      PieceList missing = loader_.not_resident(page_pieces(blocks, number));
      if (missing.empty()) continue;
      if (!quota.try_charge(missing.bytes)) {
        request.account.prefetch_pieces_declined += missing.keys.size();
        pages.resize(number);
        break;
      }
      pages[number].missing = missing.keys;
      pages[number].read = loader_.prefetch_to_host(machine, {.request = request.id}, std::move(missing.keys),
                                                    looked_up, request.account);
    }
    return pages;
  }

  void keep_what_came(Machine& machine, Request& request, std::vector<Page>& pages) {
    std::uint32_t num_usable = 0;
    while (num_usable < pages.size() && has_come(pages[num_usable])) ++num_usable;
    for (std::size_t i = num_usable; i < pages.size(); ++i) loader_.drop_read(machine, pages[i].read, request.account);
    pages.resize(num_usable);
    const std::uint32_t usable_tokens = num_usable * load_.kv_layout.block_tokens;
    if (usable_tokens == request.stored_tokens) return;
    request.shorten_prefix(usable_tokens);
    machine.own_tokens_changed(request);
  }

  /// What was read enters the tiers now; what was resident is looked up, and read after all if it has left meanwhile.
  std::vector<Residency> look_up_came(Request& request, const PrefixUnits& blocks, std::span<const Page> pages,
                                      PinnedPieces& pinned) {
    boost::unordered_flat_map<std::uint64_t, Op> read_by;
    for (const Page& page : pages) {
      for (const PieceKey key : page.missing) read_by[key.packed] = Op(page.read);
    }
    const std::vector<std::uint32_t> all = all_units(blocks.size());
    std::vector<Residency> found(static_cast<std::size_t>(num_layers()));
    for (int layer = 0; layer < num_layers() && blocks.size() > 0; ++layer) {
      Residency& residency = found[static_cast<std::size_t>(layer)];
      std::vector<PieceKey> others;
      for (const PieceKey key : kv_pieces(blocks, all, layer)) {
        if (!read_by.contains(key.packed)) {
          others.push_back(key);
          continue;
        }
        loader_.admit_read(request.account, key, residency, pinned);
      }
      loader_.look_up(request.account, others, pinned, residency);
      count_layer(request, residency.missing.bytes + residency.arrived.bytes);
    }
    return found;
  }

  Params params_;
  boost::unordered_flat_map<std::uint32_t, PinnedPieces> announced_;  // by request
};

Params defaults(PathKind path) {
  Params params;
  params.cache_policy = "lru";
  params.kv_layout.block_tokens = 64;
  params.lookahead_layers = path == PathKind::prototype ? 1 : 511;
  return params;
}

/// Split at 2,048 tokens: a scenario that means it says where.
Params hybrid_defaults(PathKind path) {
  Params params = defaults(path);
  params.lookahead_layers = 511;
  params.split_tokens = 2048;
  return params;
}

Params lmcache_defaults(PathKind) {
  Params params;
  params.kv_layout = {.order = layout::KvOrder::chunk_major, .kv = layout::KvPlacement::apart, .block_tokens = 256};
  params.load = LoadOrder::load_then_compute;
  return params;
}

Params hicache_defaults(PathKind) {
  Params params;
  params.kv_layout = {.order = layout::KvOrder::chunk_major, .kv = layout::KvPlacement::apart, .block_tokens = 64};
  params.load = LoadOrder::host_first;
  return params;
}

void check(Params& params, const JsonValue& object) {
  if (params.split_tokens > 0 && params.load != LoadOrder::layer_wise) {
    object.fail(fmt::format("split_tokens: found {}; only load = layer_wise may split, found load = {}",
                            params.split_tokens, enum_name(params.load)));
  }
  if (params.prefetch_policy != PrefetchPolicy::wait_complete && params.load != LoadOrder::host_first) {
    object.fail(fmt::format("prefetch_policy: found {}; only load = host_first has one, found load = {}",
                            enum_name(params.prefetch_policy), enum_name(params.load)));
  }
}

SystemEntry entry(std::string name, std::string doc, std::function<Params(PathKind)> path_defaults) {
  SystemEntry made =
      make_system_entry<Params>(std::move(name), std::move(doc), attention_store_params(), std::move(path_defaults),
                                check, [](const Params& params, const SystemEnvironment& environment) {
                                  return std::make_unique<AttentionStore>(params, environment);
                                });
  made.is_preset = made.name != "attention_store";
  return made;
}

}  // namespace

SystemEntry attention_store_entry() {
  return entry("attention_store", "AS+LRU: loads all K and V, layer by layer (reference 3.3)", defaults);
}

SystemEntry hybrid_entry() {
  return entry("hybrid",
               "preset of attention_store: computes the first split_tokens of the prefix while it loads the rest "
               "(reference 6, CacheFlow)",
               hybrid_defaults);
}

SystemEntry lmcache_like_entry() {
  return entry("lmcache_like",
               "preset of attention_store: 256-token objects over all layers, load then compute, or load = layer_wise "
               "(reference 6)",
               lmcache_defaults);
}

SystemEntry hicache_like_entry() {
  return entry("hicache_like",
               "preset of attention_store: 64-token pages to host memory, then layers overlap with compute; "
               "prefetch_policy says how long a request waits (reference 6)",
               hicache_defaults);
}

}  // namespace reprefill::pipeline
