// Keys that scoring needs, in objects of their own: one per segment and layer. They may be kept in host memory.
#pragma once

#include "core/pipeline/loader.hpp"

namespace reprefill::pipeline {

enum class IdentifyCache : std::uint8_t {
  none,        // read from the SSD every time
  policy,      // an LRU of its own, taken out of the host tier
  pinned_host  // all of them always in host memory, outside the tiers
};

/// What IMPRESS scores tokens by.
enum class ProbeScorer : std::uint8_t { probe, probe_per_group };

struct IdentifyParams {
  IdentifyCache identify_cache = IdentifyCache::none;
  double identify_cache_share = 0.25;
};

template <typename P>
void add_identify_params(ParamTable<P>& table) {
  table.add(&P::identify_cache, {.name = "identify_cache",
                                 .doc = "where keys for scoring are kept between requests",
                                 .source = "A8, semantics 3: prototype none, direct policy"});
  table.add(&P::identify_cache_share, {.name = "identify_cache_share",
                                       .doc = "part of the host tier given to them under `policy`",
                                       .source = "semantics 3: 25 %",
                                       .maximum = 1});
}

/// Query heads that resolved parameters probe on this model: `probe_heads`, or with `scorer: probe_per_group` the first
/// of each group that shares a KV head (reference 5: heads 0, 7, 14, 21 of Qwen2.5-7B). 0, 1, 2 for a system that has
/// neither.
std::vector<int> probe_heads_of(const Json& system_params, const ModelGeometry& geometry);

/// What `identify_cache: policy` takes out of the host tier.
Bytes identification_bytes(const IdentifyParams& params, Bytes host_cache);

class IdentificationKeys {
 public:
  IdentificationKeys(const IdentifyParams& params, Bytes host_cache, Loader& loader);

  /// Done when the keys are in GPU memory. What it pins is for the caller to unpin once scoring is known to be done.
  Deps fetch(Machine& machine, OpContext context, const PieceList& keys, ReadPriority priority, const Deps& deps,
             RequestAccount& account, PinnedPieces& pinned);
  void unpin(PinnedPieces& pinned);
  cache::TieredCache* cache() { return cache_.get(); }
  bool pins_all() const { return mode_ == IdentifyCache::pinned_host; }

 private:
  IdentifyCache mode_;
  Loader& loader_;
  std::unique_ptr<cache::TieredCache> cache_;
  std::vector<cache::Move> moves_;
};

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::ProbeScorer> {
  static constexpr std::pair<const char*, pipeline::ProbeScorer> names[] = {
      {"probe", pipeline::ProbeScorer::probe}, {"probe_per_group", pipeline::ProbeScorer::probe_per_group}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::IdentifyCache> {
  static constexpr std::pair<const char*, pipeline::IdentifyCache> names[] = {
      {"none", pipeline::IdentifyCache::none},
      {"policy", pipeline::IdentifyCache::policy},
      {"pinned_host", pipeline::IdentifyCache::pinned_host}};
};
