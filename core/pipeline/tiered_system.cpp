#include "core/pipeline/tiered_system.hpp"

#include <numeric>

#include "core/cache/eviction/registry.hpp"

namespace reprefill::pipeline {
namespace {

Bytes less(Bytes size, Bytes reserved) { return size > reserved ? size - reserved : Bytes{0}; }

}  // namespace

TieredSystem::TieredSystem(const LoadParams& load, const layout::StoreLayout& layout,
                           const SystemEnvironment& environment, const Json& policy_params, Bytes reserved_gpu,
                           Bytes reserved_host)
    : TieredSystem(load, layout, environment,
                   cache::make_eviction_policy(load.cache_policy, JsonValue(policy_params, "cache policy")),
                   reserved_gpu, reserved_host) {}

TieredSystem::TieredSystem(const LoadParams& load, const layout::StoreLayout& layout,
                           const SystemEnvironment& environment, std::unique_ptr<cache::EvictionPolicy> policy,
                           Bytes reserved_gpu, Bytes reserved_host)
    : load_(load),
      environment_(environment),
      layout_(layout),
      cache_(std::make_unique<cache::TieredCache>(cache::TierCapacities{.gpu = less(load.gpu_cache, reserved_gpu),
                                                                        .host = less(load.host_cache, reserved_host)},
                                                  std::move(policy))),
      loader_(environment, load, *cache_, layout_) {}

/// An upper bound: which objects are read, and which of them merge, is not known before the request.
Bytes TieredSystem::largest_read(std::uint32_t stored_tokens) const {
  constexpr std::uint64_t kPage = layout::kStoreAlignment;
  const layout::KvLayout& layout = load_.kv_layout;
  const std::uint64_t tensors = layout.kv == layout::KvPlacement::adjacent ? 2 : 1;
  const Bytes object = tensors * layout.block_tokens * tensor_bytes_per_token();
  const Bytes logical = one_layer_working_set(stored_tokens);
  const std::uint64_t num_objects = divide_rounding_up(logical.value, object.value);
  // An object of whole pages begins at one; any other touches one page more than its size needs.
  std::uint64_t more =
      object.value % kPage == 0 ? 0 : (divide_rounding_up(object.value, kPage) + 1) * kPage - object.value;
  if (environment_.path.merge_reads) more += environment_.path.max_merge_gap.value;
  // Keys for scoring: one object a segment, which begins at a page.
  const std::uint64_t num_segments =
      divide_rounding_up(std::uint64_t{stored_tokens}, std::uint64_t{environment_.store_block_tokens});
  return logical + Bytes{num_objects * more + num_segments * kPage};
}

void TieredSystem::add_pieces(std::vector<PieceKey>& pieces, const PrefixUnits& blocks,
                              std::span<const std::uint32_t> chosen, int layer_idx,
                              std::initializer_list<PieceKind> kinds) {
  for (const PieceKind kind : kinds) {
    blocks.for_each(chosen, [&](SegmentId segment, std::uint32_t index, std::size_t) {
      pieces.push_back(PieceKey::make(segment, layer_idx, kind, index));
    });
  }
}

std::vector<PieceKey> TieredSystem::kv_pieces(const PrefixUnits& blocks, std::span<const std::uint32_t> chosen,
                                              int layer_idx) const {
  std::vector<PieceKey> pieces;
  pieces.reserve(2 * chosen.size());
  if (load_.kv_layout.kv == layout::KvPlacement::adjacent) {
    add_pieces(pieces, blocks, chosen, layer_idx, {PieceKind::key_value});
  } else {
    add_pieces(pieces, blocks, chosen, layer_idx, {PieceKind::key, PieceKind::value});
  }
  return pieces;
}

PieceList TieredSystem::identification_pieces(const Request& request, int layer_idx, PieceKind kind) const {
  PieceList pieces;
  for (const SegmentSpan& span : request.stored_prefix) {
    const PieceKey key = PieceKey::make(span.segment, layer_idx, kind, span.num_tokens);
    pieces.add(key, layout_.piece_bytes(key, span.num_tokens));
  }
  return pieces;
}

Bytes TieredSystem::tensor_bytes_per_token() const { return environment_.geometry.kv_tensor_bytes_per_token_layer(); }

std::vector<std::uint32_t> all_units(std::uint32_t count) {
  std::vector<std::uint32_t> units(count);
  std::iota(units.begin(), units.end(), 0u);
  return units;
}

TouchedBlocks blocks_of_tokens(std::span<const std::uint32_t> tokens, std::uint32_t block_tokens) {
  TouchedBlocks touched;
  for (const std::uint32_t token : tokens) {
    const std::uint32_t block = token / block_tokens;
    if (touched.blocks.empty() || touched.blocks.back() != block) {
      touched.blocks.push_back(block);
      touched.num_tokens.push_back(0);
    }
    ++touched.num_tokens.back();
  }
  return touched;
}

}  // namespace reprefill::pipeline
