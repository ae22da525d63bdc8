// Brings pieces to the GPU: looks them up in the tiers, reserves, reads what is missing, copies, keeps the account.
#pragma once

#include <span>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/pipeline/ledger.hpp"
#include "core/pipeline/system.hpp"
#include "core/pipeline/system_params.hpp"

namespace reprefill::pipeline {

/// Where the wanted pieces of one operation were found. Resident ones are pinned.
struct Residency {
  PieceList gpu;
  PieceList host;
  PieceList missing;
  PieceList to_host_tier;  // of the missing: those that enter the host tier once read
  PieceList demoted;       // victims on their way from GPU to host
  PieceList arrived;       // read before they were admitted, and in staging
  std::vector<PieceKey> arrived_entered;
  Deps fills;                     // loads by other requests that these hits wait for
  std::vector<PieceKey> entered;  // of the missing: those that enter a tier, kept with several requests in flight

  /// Bytes that the layer holds in the workspace until its attention is done.
  Bytes loaded_bytes() const { return host.bytes + missing.bytes; }
};

/// Pieces that a request has pinned; unpinned where the program knows that their attention is done.
using PinnedPieces = std::vector<PieceKey>;

/// A read into the prefetch buffer and the copy behind it; null where there was nothing to read.
struct PrefetchOps {
  ReadOp read;
  Op copied;
};

/// One per system. Cache decisions happen in `look_up`, in program order; `fetch` only issues operations.
class Loader {
 public:
  Loader(const SystemEnvironment& environment, const LoadParams& params, cache::TieredCache& cache,
         const layout::StoreLayout& layout);

  Bytes piece_bytes(PieceKey key) const;

  /// Looks up, pins and, for what is missing, decides where it enters. Counts hits in `account`, adds to `residency`.
  void look_up(RequestAccount& account, std::span<const PieceKey> wanted, PinnedPieces& pinned, Residency& residency);
  /// The pieces of `wanted` that no tier holds, without noting an access: what a prefetch reads.
  PieceList not_resident(std::span<const PieceKey> wanted) const;
  /// A prefetched piece is wanted after all: decides where it enters the tiers.
  void admit_prefetched(PieceKey key, const Op& loaded, Residency& residency, PinnedPieces& pinned);

  /// A piece that `prefetch_to_host` read and that is wanted: decides where it enters the tiers.
  void admit_read(RequestAccount& account, PieceKey key, Residency& residency, PinnedPieces& pinned);

  /// Issues the reads and copies. The result is done when every piece is in GPU memory. With `read`, which brings all
  /// that is missing, only copies are issued; they wait for `deps` as well.
  Deps fetch(Machine& machine, OpContext context, Residency residency, ReadPriority priority, const Deps& deps,
             RequestAccount& account, const ReadOp& read = nullptr);
  /// One read of these pieces, in this order, counted as the request's.
  ReadOp read_missing(Machine& machine, OpContext context, std::vector<PieceKey> pieces, ReadPriority priority,
                      const Deps& deps, RequestAccount& account);
  /// A read into staging of pieces that nothing has decided about yet.
  ReadOp prefetch_to_host(Machine& machine, OpContext context, std::vector<PieceKey> pieces, const Deps& deps,
                          RequestAccount& account);
  /// Takes back what of it is not submitted yet; null is legal.
  void drop_read(Machine& machine, const ReadOp& read, RequestAccount& account);
  /// Reads pieces that no tier holds into the host tier, as far as it takes them, for a request that waits.
  void bring_to_host(Machine& machine, OpContext context, std::span<const PieceKey> pieces, PinnedPieces& pinned,
                     RequestAccount& account);
  /// A read outside the tiers: identification and probe keys. Done when the keys are in GPU memory.
  Deps fetch_identification(Machine& machine, OpContext context, PieceList keys, PieceList enters_host,
                            ReadPriority priority, const Deps& deps, RequestAccount& account);
  /// Reads and copies that a later selection may turn out not to need.
  PrefetchOps prefetch(Machine& machine, OpContext context, PieceList pieces, const Deps& deps,
                       RequestAccount& account);
  /// Takes back what of a prefetch of `size` bytes is not submitted yet. What is dropped was not read.
  void drop_prefetch(Machine& machine, const PrefetchOps& prefetch, Bytes size, RequestAccount& account);

  const layout::StoreLayout& layout() const { return layout_; }
  void unpin(PinnedPieces& pinned);
  /// Loads by others are waited for even with one request in flight: a system brings pieces before their request.
  void track_fills() { track_fills_ = true; }
  /// Reads of a segment's layer depend on the write that stores it, while that is under way.
  void note_write(SegmentId segment, int layer_idx, const Op& write);

 private:
  ReadOp issue_read(Machine& machine, OpContext context, PieceList pieces, ReadPriority priority, const Deps& deps);
  void add_write_deps(const PieceList& pieces, Deps& deps) const;
  void note_moves(Residency& residency);

  const SystemEnvironment& environment_;
  cache::TieredCache& cache_;
  const layout::StoreLayout& layout_;
  bool track_fills_;
  std::vector<cache::Move> moves_;
  boost::unordered_flat_map<std::uint64_t, Op> fills_;   // piece -> the copy that fills it, with several in flight
  boost::unordered_flat_map<std::uint64_t, Op> writes_;  // (segment, layer) -> write under way
};

}  // namespace reprefill::pipeline
