#include "core/pipeline/identification.hpp"

#include "core/cache/eviction/registry.hpp"

namespace reprefill::pipeline {

std::vector<int> probe_heads_of(const Json& system_params, const ModelGeometry& geometry) {
  std::vector<int> heads = system_params.value("probe_heads", std::vector<int>{0, 1, 2});
  if (system_params.value("scorer", "") != enum_name(ProbeScorer::probe_per_group)) return heads;
  heads.clear();
  for (int kv_head = 0; kv_head < geometry.num_kv_heads; ++kv_head) heads.push_back(kv_head * geometry.group_size());
  return heads;
}

Bytes identification_bytes(const IdentifyParams& params, Bytes host_cache) {
  if (params.identify_cache != IdentifyCache::policy) return Bytes{0};
  return Bytes{static_cast<std::uint64_t>(params.identify_cache_share * static_cast<double>(host_cache.value))};
}

IdentificationKeys::IdentificationKeys(const IdentifyParams& params, Bytes host_cache, Loader& loader)
    : mode_(params.identify_cache), loader_(loader) {
  if (mode_ == IdentifyCache::policy) {
    cache_ = std::make_unique<cache::TieredCache>(
        cache::TierCapacities{.gpu = Bytes{0}, .host = identification_bytes(params, host_cache)},
        cache::make_eviction_policy("lru"));
  }
}

Deps IdentificationKeys::fetch(Machine& machine, OpContext context, const PieceList& keys, ReadPriority priority,
                               const Deps& deps, RequestAccount& account, PinnedPieces& pinned) {
  account.identification_needed += keys.bytes;
  PieceList in_host, missing, enters_host;
  for (const PieceKey key : keys.keys) {
    const Bytes size = loader_.piece_bytes(key);
    const bool hit = mode_ == IdentifyCache::pinned_host || (cache_ && cache_->lookup(key));
    (hit ? in_host : missing).add(key, size);
    if (!cache_) continue;
    if (hit) {
      pinned.push_back(key);
    } else if (cache_->admit_loaded(key, size, moves_)) {
      pinned.push_back(key);
      enters_host.add(key, size);
    }
  }
  moves_.clear();
  Deps ready;
  if (!in_host.empty()) {
    account.identification_host_hits += in_host.bytes;
    ready.add(machine.copy(context, std::move(in_host), CopyRoute::host_tier_to_gpu, deps));
  }
  if (!missing.empty()) {
    ready.add(loader_.fetch_identification(machine, context, std::move(missing), std::move(enters_host), priority, deps,
                                           account));
  }
  return ready;
}

void IdentificationKeys::unpin(PinnedPieces& pinned) {
  for (const PieceKey key : pinned) cache_->unpin(key);
  pinned.clear();
}

}  // namespace reprefill::pipeline
