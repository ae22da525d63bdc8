#include "engine/real_machine/placement.hpp"

#include <boost/container/small_vector.hpp>

namespace reprefill::engine {
namespace {

using namespace pipeline;

bool is_slab(PieceKind kind) { return kind == PieceKind::identification_keys || kind == PieceKind::probe_keys; }

PieceKey with_kind(PieceKey piece, PieceKind kind) {
  return PieceKey::make(piece.segment(), piece.layer_idx(), kind, piece.index());
}

boost::container::small_vector<PieceKey, 2> parts_of(PieceKey piece) {
  if (piece.kind() != PieceKind::key_value) return {piece};
  return {with_kind(piece, PieceKind::key), with_kind(piece, PieceKind::value)};
}

PieceKey whole_slab(PieceKey slab) { return PieceKey::make(slab.segment(), slab.layer_idx(), slab.kind(), 0); }

template <typename Parts>
Located find(const Parts& parts, PieceKey part) {
  const auto found = parts.find(part.packed);
  return found == parts.end() ? Located{} : found->second;
}

template <typename Parts>
void move_part(Parts& from, Parts& to, PieceKey part) {
  const auto found = from.find(part.packed);
  if (found == from.end()) return;
  to[part.packed] = std::move(found->second);
  from.erase(found);
}

}  // namespace

void Placement::on_decision(const cache::Move& decision) {
  for (const PieceKey part : parts_of(decision.key)) {
    switch (decision.decision) {
      case cache::Decision::entered_gpu:
        keep_prefetched(part);
        break;
      case cache::Decision::promoted:
        move_part(host_, departing_, part);
        break;
      case cache::Decision::demoted:
        move_part(gpu_, departing_, part);
        break;
      case cache::Decision::dropped_gpu:
        gpu_.erase(part.packed);
        break;
      case cache::Decision::dropped_host:
        host_.erase(part.packed);
        departing_.erase(part.packed);  // demoted, and gone before its copy was issued
        break;
      default:
        break;
    }
  }
}

/// A prefetched piece is in device memory before a tier takes it; every other one is copied after this decision.
void Placement::keep_prefetched(PieceKey part) {
  for (const auto& [key, scratch] : scratch_) {
    if (Located found = find(scratch.workspace, part)) gpu_[part.packed] = std::move(found);
  }
}

void Placement::note_read(OpContext context, PieceKey piece, const Located& where) {
  Located part_at = where;
  for (const PieceKey part : parts_of(piece)) {
    scratch_[scratch_key(context, part)].staged[part.packed] = part_at;
    part_at.offset += part_bytes(part).value;  // V lies behind K
  }
}

Located Placement::find_staged(OpContext context, PieceKey part) const {
  const auto scratch = scratch_.find(scratch_key(context, part));
  return scratch == scratch_.end() ? Located{} : find(scratch->second.staged, part);
}

void Placement::drop_staged(OpContext context, const PieceList& pieces) {
  for (const PieceKey piece : pieces.keys) {
    const auto scratch = scratch_.find(scratch_key(context, piece));
    if (scratch == scratch_.end()) continue;
    for (const PieceKey part : parts_of(piece)) scratch->second.staged.erase(part.packed);
  }
}

void Placement::pin(PieceKey slab, const Located& where) { pinned_[whole_slab(slab).packed] = where; }

std::optional<cache::Tier> Placement::tier_of(PieceKey part) const {
  if (is_slab(part.kind())) {
    cache::TieredCache* cache = options_.system->identification_cache();
    return cache == nullptr ? std::nullopt : cache->find(part);
  }
  const bool adjacent = options_.layout->kv_layout().kv == layout::KvPlacement::adjacent;
  return options_.system->cache()->find(adjacent ? with_kind(part, PieceKind::key_value) : part);
}

Located Placement::new_block(BlockPool& pool, PieceKey part, const Op& fill) const {
  return {.block = std::make_shared<Block>(pool, part_bytes(part)), .offset = 0, .fill = fill};
}

/// Stored bytes never change, so any place that holds them will do; the route only says where to look first.
Located Placement::find_source(OpContext context, PieceKey part, CopyRoute route) {
  const auto scratch = scratch_.find(scratch_key(context));
  const bool has_scratch = scratch != scratch_.end();
  if (has_scratch && route <= CopyRoute::staging_to_host_tier) {
    if (Located found = find(scratch->second.staged, part)) return found;
  }
  if (route == CopyRoute::host_tier_to_gpu || route == CopyRoute::gpu_to_host_tier) {
    if (Located found = find(departing_, part)) {
      // With several in flight another request's hit may be copied before the move that the part is waiting for.
      const bool completes_move = route == CopyRoute::gpu_to_host_tier || tier_of(part) == cache::Tier::gpu;
      if (completes_move) departing_.erase(part.packed);
      return found;
    }
  }
  for (const Parts* parts : {&host_, &gpu_, &departing_}) {
    if (Located found = find(*parts, part)) return found;
  }
  if (is_slab(part.kind())) return find(pinned_, whole_slab(part));
  if (!has_scratch) return {};
  if (Located found = find(scratch->second.workspace, part)) return found;
  if (Located found = find(scratch->second.staged, part)) return found;
  return part.kind() == PieceKind::key ? leader_keys(context, part) : Located{};
}

/// A block's keys inside the identification slab that the request has in device memory: both are [tokens][KV heads]
/// [head_dim].
Located Placement::leader_keys(OpContext context, PieceKey part) const {
  const auto scratch = scratch_.find(scratch_key(context));
  if (scratch == scratch_.end() || options_.layout->auxiliary().digest != KeyDigest::none) return {};
  for (const auto& [packed, where] : scratch->second.workspace) {
    const PieceKey slab{packed};
    if (slab.kind() != PieceKind::identification_keys || slab.segment() != part.segment()) continue;
    const std::uint32_t block_tokens = options_.layout->kv_layout().block_tokens;
    const std::uint64_t token_bytes = part_bytes(slab).value / slab.index();
    Located keys = where;
    keys.offset += std::uint64_t{part.index()} * block_tokens * token_bytes;
    return keys;
  }
  return {};
}

std::vector<PartCopy> Placement::plan_copy(OpContext context, const PieceList& pieces, CopyRoute route, const Op& op,
                                           Deps& fills) {
  std::vector<PartCopy> copies;
  const bool to_host = route == CopyRoute::staging_to_host_tier || route == CopyRoute::gpu_to_host_tier;
  for (const PieceKey piece : pieces.keys) {
    for (const PieceKey part : parts_of(piece)) {
      const std::optional<cache::Tier> tier = tier_of(part);
      // Demoted and, in the same breath, wanted and promoted again: the copy back finds it where it still is.
      if (to_host && tier != cache::Tier::host) continue;
      const Located source = find_source(context, part, route);
      // Demoted, dropped from the host tier, and loaded there anew before this copy was issued: that load brings it.
      if (!source && route == CopyRoute::gpu_to_host_tier) continue;
      REPREFILL_CHECK(source, "piece {:#x}, layer {} of request {}: route {}, tier {}: is to be copied and is nowhere",
                      part.packed, part.layer_idx(), context.request, static_cast<int>(route),
                      tier ? cache::name_of(*tier) : "none");
      const Located destination = new_block(to_host ? *options_.host : *options_.device, part, op);
      if (to_host) {
        host_[part.packed] = destination;
      } else {
        scratch_[scratch_key(context)].workspace[part.packed] = destination;
        if (tier == cache::Tier::gpu) gpu_[part.packed] = destination;
      }
      fills.add(source.fill);
      copies.push_back({source.block, source.offset, destination.block});
    }
  }
  return copies;
}

Located Placement::find_block(OpContext context, PieceKey part, const Op& op, std::vector<PartCopy>& adopted) {
  if (const auto scratch = scratch_.find(scratch_key(context)); scratch != scratch_.end()) {
    if (Located found = find(scratch->second.workspace, part)) return found;
  }
  if (Located found = find(gpu_, part)) return found;
  if (part.kind() != PieceKind::key) return {};
  const Located keys = leader_keys(context, part);
  if (keys && tier_of(part) == cache::Tier::gpu) {
    const Located destination = new_block(*options_.device, part, op);
    gpu_[part.packed] = destination;
    adopted.push_back({keys.block, keys.offset, destination.block});
  }
  return keys;
}

Located Placement::find_slab(OpContext context, PieceKey slab) const {
  const auto scratch = scratch_.find(scratch_key(context));
  return scratch == scratch_.end() ? Located{} : find(scratch->second.workspace, slab);
}

std::size_t Placement::num_open_layers() const {
  std::size_t count = 0;
  for (const auto& [key, scratch] : scratch_) count += !scratch.staged.empty() || !scratch.workspace.empty();
  return count;
}

}  // namespace reprefill::engine
