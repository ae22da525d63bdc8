#include "core/pipeline/loader.hpp"

#include <algorithm>

namespace reprefill::pipeline {
namespace {

std::uint64_t write_key(SegmentId segment, int layer_idx) {
  return PieceKey::make(segment, layer_idx, PieceKind::key, 0).packed;
}

}  // namespace

Loader::Loader(const SystemEnvironment& environment, const LoadParams& /*params*/, cache::TieredCache& cache,
               const layout::StoreLayout& layout)
    : environment_(environment), cache_(cache), layout_(layout), track_fills_(environment.max_in_flight > 1) {}

Bytes Loader::piece_bytes(PieceKey key) const {
  return layout_.piece_bytes(key, environment_.segment_tokens(key.segment()));
}

void Loader::note_moves(Residency& residency) {
  for (const cache::Move& move : moves_) {
    if (move.decision == cache::Decision::demoted) residency.demoted.add(move.key, move.bytes);
  }
  moves_.clear();
}

void Loader::look_up(RequestAccount& account, std::span<const PieceKey> wanted, PinnedPieces& pinned,
                     Residency& residency) {
  for (const PieceKey key : wanted) {
    const Bytes size = piece_bytes(key);
    ++account.pieces_needed;
    account.payload_needed += size;
    const std::optional<cache::Tier> tier = cache_.lookup(key);
    if (tier && track_fills_) {
      if (const auto fill = fills_.find(key.packed); fill != fills_.end()) residency.fills.add(fill->second);
    }
    if (tier == cache::Tier::gpu) {
      ++account.pieces_gpu_hits;
      account.payload_gpu_hits += size;
      residency.gpu.add(key, size);
      pinned.push_back(key);
    } else if (tier == cache::Tier::host) {
      ++account.pieces_host_hits;
      account.payload_host_hits += size;
      residency.host.add(key, size);
      pinned.push_back(key);
      cache_.try_promote(key, moves_);
    } else {
      residency.missing.add(key, size);
      const std::optional<cache::Tier> entered = cache_.admit_loaded(key, size, moves_);
      if (entered) pinned.push_back(key);
      if (entered && track_fills_) residency.entered.push_back(key);
      if (entered == cache::Tier::host) residency.to_host_tier.add(key, size);
    }
  }
  note_moves(residency);
}

PieceList Loader::not_resident(std::span<const PieceKey> wanted) const {
  PieceList pieces;
  for (const PieceKey key : wanted) {
    if (!cache_.find(key)) pieces.add(key, piece_bytes(key));
  }
  return pieces;
}

void Loader::admit_prefetched(PieceKey key, const Op& loaded, Residency& residency, PinnedPieces& pinned) {
  const Bytes size = piece_bytes(key);
  const std::optional<cache::Tier> entered = cache_.admit_loaded(key, size, moves_);
  if (entered) {
    pinned.push_back(key);
    if (track_fills_ && loaded) fills_[key.packed] = loaded;
  }
  if (entered == cache::Tier::host) residency.to_host_tier.add(key, size);
  note_moves(residency);
}

void Loader::add_write_deps(const PieceList& pieces, Deps& deps) const {
  if (writes_.empty()) return;
  std::uint64_t last = ~std::uint64_t{0};
  for (const PieceKey key : pieces.keys) {
    const std::uint64_t wanted = write_key(key.segment(), key.layer_idx());
    if (wanted == last) continue;
    last = wanted;
    if (const auto write = writes_.find(wanted); write != writes_.end()) deps.add(write->second);
  }
}

ReadOp Loader::issue_read(Machine& machine, OpContext context, PieceList pieces, ReadPriority priority,
                          const Deps& deps) {
  Deps all = deps;
  add_write_deps(pieces, all);
  return machine.read(context, std::move(pieces), priority, all);
}

ReadOp Loader::read_missing(Machine& machine, OpContext context, std::vector<PieceKey> pieces, ReadPriority priority,
                            const Deps& deps, RequestAccount& account) {
  PieceList list;
  for (const PieceKey key : pieces) list.bytes += piece_bytes(key);
  list.keys = std::move(pieces);
  account.payload_read += list.bytes;
  ReadOp read = issue_read(machine, context, std::move(list), priority, deps);
  account.payload_requested += read->requested;
  account.num_reads += read->num_requests;
  return read;
}

ReadOp Loader::prefetch_to_host(Machine& machine, OpContext context, std::vector<PieceKey> pieces, const Deps& deps,
                                RequestAccount& account) {
  const Bytes before = account.payload_read;
  ReadOp read = read_missing(machine, context, std::move(pieces), ReadPriority::prefetch, deps, account);
  account.prefetch_read += account.payload_read - before;
  return read;
}

void Loader::drop_read(Machine& machine, const ReadOp& read, RequestAccount& account) {
  if (!read) return;
  machine.detach(read, /*drop_unsubmitted=*/true);
  // Pages of the store are whole objects: what was asked for is what they hold, but for alignment.
  const Bytes dropped = std::min({read->dropped, account.prefetch_read, account.payload_read});
  account.payload_read -= dropped;
  account.prefetch_read -= dropped;
  account.prefetch_dropped += dropped;
  account.payload_requested -= read->dropped;
  account.num_reads -= read->num_dropped;
}

void Loader::admit_read(RequestAccount& account, PieceKey key, Residency& residency, PinnedPieces& pinned) {
  const Bytes size = piece_bytes(key);
  ++account.pieces_needed;
  account.payload_needed += size;
  account.prefetch_used += size;
  residency.arrived.add(key, size);
  const std::optional<cache::Tier> entered = cache_.admit_loaded(key, size, moves_);
  if (entered) pinned.push_back(key);
  if (entered && track_fills_) residency.arrived_entered.push_back(key);
  if (entered == cache::Tier::host) residency.to_host_tier.add(key, size);
  note_moves(residency);
}

void Loader::bring_to_host(Machine& machine, OpContext context, std::span<const PieceKey> pieces, PinnedPieces& pinned,
                           RequestAccount& account) {
  PieceList entered;
  for (const PieceKey key : pieces) {
    const Bytes size = piece_bytes(key);
    if (!cache_.admit_loaded(key, size, moves_, cache::Tier::host)) continue;
    pinned.push_back(key);
    entered.add(key, size);
  }
  moves_.clear();  // only drops: what leaves the host tier goes nowhere
  if (entered.empty()) return;
  const ReadOp read = read_missing(machine, context, entered.keys, ReadPriority::prefetch, {}, account);
  account.payload_useful_from_reads += entered.bytes;  // pinned until its request comes
  const std::vector<PieceKey> keys = entered.keys;
  const Op copied = machine.copy(context, std::move(entered), CopyRoute::staging_to_host_tier, Op(read));
  for (const PieceKey key : keys) fills_[key.packed] = copied;
}

Deps Loader::fetch(Machine& machine, OpContext context, Residency residency, ReadPriority priority, const Deps& deps,
                   RequestAccount& account, const ReadOp& read_before) {
  Deps ready = residency.fills;
  const CopyRoute route =
      priority == ReadPriority::demand ? CopyRoute::staging_to_gpu_demand : CopyRoute::staging_to_gpu_prefetch;
  if (!residency.demoted.empty()) {
    // Victims leave GPU pages that the workspace lends out meanwhile: nothing waits for their copy.
    machine.copy(context, std::move(residency.demoted), CopyRoute::gpu_to_host_tier, deps);
  }
  if (!residency.host.empty()) {
    Deps host_deps = deps;
    host_deps.add(residency.fills);
    ready.add(machine.copy(context, std::move(residency.host), CopyRoute::host_tier_to_gpu, host_deps));
  }
  if (!residency.arrived.empty()) {
    const Op copied = machine.copy(context, std::move(residency.arrived), CopyRoute::staging_to_gpu_prefetch, deps);
    ready.add(copied);
    for (const PieceKey key : residency.arrived_entered) fills_[key.packed] = copied;
  }
  Deps staged = deps;
  if (!residency.missing.empty()) {
    const ReadOp read =
        read_before ? read_before : read_missing(machine, context, residency.missing.keys, priority, deps, account);
    if (!read_before) staged = {};  // the read waits for them
    staged.add(Op(read));
    const Op copied = machine.copy(context, std::move(residency.missing), route, staged);
    ready.add(copied);
    for (const PieceKey key : residency.entered) fills_[key.packed] = copied;
  }
  if (!residency.to_host_tier.empty()) {
    machine.copy(context, std::move(residency.to_host_tier), CopyRoute::staging_to_host_tier, staged);
  }
  return ready;
}

Deps Loader::fetch_identification(Machine& machine, OpContext context, PieceList keys, PieceList enters_host,
                                  ReadPriority priority, const Deps& deps, RequestAccount& account) {
  account.identification_read += keys.bytes;
  const ReadOp read = issue_read(machine, context, keys, priority, deps);
  account.identification_requested += read->requested;
  account.num_reads += read->num_requests;
  if (!enters_host.empty()) {
    machine.copy(context, std::move(enters_host), CopyRoute::staging_to_host_tier, Op(read));
  }
  const CopyRoute route =
      priority == ReadPriority::demand ? CopyRoute::staging_to_gpu_demand : CopyRoute::staging_to_gpu_prefetch;
  return machine.copy(context, std::move(keys), route, Op(read));
}

PrefetchOps Loader::prefetch(Machine& machine, OpContext context, PieceList pieces, const Deps& deps,
                             RequestAccount& account) {
  account.payload_read += pieces.bytes;
  account.prefetch_read += pieces.bytes;
  const ReadOp read = issue_read(machine, context, pieces, ReadPriority::prefetch, deps);
  account.payload_requested += read->requested;
  account.num_reads += read->num_requests;
  return {read, machine.copy(context, std::move(pieces), CopyRoute::staging_to_gpu_prefetch, Op(read))};
}

void Loader::drop_prefetch(Machine& machine, const PrefetchOps& prefetch, Bytes size, RequestAccount& account) {
  if (!prefetch.read) return;
  // The copy first: it would begin with the completion of a read that is dropped whole.
  machine.detach(prefetch.copied, /*drop_unsubmitted=*/true);
  machine.detach(prefetch.read, /*drop_unsubmitted=*/true);
  const Bytes dropped = std::min(size, prefetch.read->dropped);  // alignment asked for more than the pieces have
  account.payload_read -= dropped;
  account.prefetch_read -= dropped;
  account.prefetch_dropped += dropped;
  account.payload_requested -= prefetch.read->dropped;
  account.num_reads -= prefetch.read->num_dropped;
}

void Loader::unpin(PinnedPieces& pinned) {
  for (const PieceKey key : pinned) cache_.unpin(key);
  pinned.clear();
  if (fills_.size() > 4096) {
    erase_if(fills_, [](const auto& fill) { return fill.second->done(); });
  }
}

void Loader::note_write(SegmentId segment, int layer_idx, const Op& write) {
  if (writes_.size() > 256) {
    erase_if(writes_, [](const auto& entry) { return entry.second->done(); });
  }
  writes_[write_key(segment, layer_idx)] = write;
}

}  // namespace reprefill::pipeline
