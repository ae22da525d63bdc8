// Where the bytes of every piece are: the physical side of the cache's decisions. Decides nothing by itself.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/pipeline/machine.hpp"
#include "core/pipeline/system.hpp"
#include "engine/real_machine/copier.hpp"

namespace reprefill::engine {

/// Bytes inside a block. They are there once `fill` is done (null: already).
struct Located {
  BlockRef block = nullptr;
  std::uint64_t offset = 0;
  pipeline::Op fill = nullptr;

  explicit operator bool() const { return block != nullptr; }
  /// Only once the block has been taken.
  std::byte* data() const { return block->data() + offset; }
};

/// Follows one system's caches (as their observer) and one machine's reads and copies, in program order. A piece's K
/// and V are kept as parts of their own, since a leader's keys may come from the identification slab (semantics 3,
/// `leader_keys: reuse`). What a request loads for a layer lives in that layer's scratch until `end_layer`; what a tier
/// holds lives until the cache says that it leaves.
class Placement final : public cache::DecisionObserver {
 public:
  struct Options {
    const layout::StoreLayout* layout = nullptr;
    pipeline::System* system = nullptr;
    std::function<std::uint32_t(SegmentId)> segment_tokens = nullptr;
    BlockPool* device = nullptr;
    BlockPool* host = nullptr;
  };
  explicit Placement(const Options& options) : options_(options) {}

  void on_decision(const cache::Move& decision) override;

  /// A piece of a read lands here.
  void note_read(pipeline::OpContext context, PieceKey piece, const Located& where);
  Located find_staged(pipeline::OpContext context, PieceKey part) const;
  /// Every copy out of staging is done.
  void drop_staged(pipeline::OpContext context, const pipeline::PieceList& pieces);
  /// Identification or probe keys that are always in host memory: the whole slab of one segment and layer.
  void pin(PieceKey slab, const Located& where);

  /// What a copy has to move; its destinations are filled by `op`, its sources once `fills` are done. Parts whose
  /// target tier has let go of them meanwhile are left out.
  std::vector<PartCopy> plan_copy(pipeline::OpContext context, const pipeline::PieceList& pieces,
                                  pipeline::CopyRoute route, const pipeline::Op& op, pipeline::Deps& fills);

  /// Keys or values of one block, in device memory. Keys that were not read by themselves are those of the layer's
  /// identification slab; if a tier counts them as its own, they are copied there first: `adopted`, filled by `op`.
  Located find_block(pipeline::OpContext context, PieceKey part, const pipeline::Op& op,
                     std::vector<PartCopy>& adopted);
  /// Identification or probe keys of a segment's leading tokens, in device memory.
  Located find_slab(pipeline::OpContext context, PieceKey slab) const;

  Bytes part_bytes(PieceKey part) const {
    return options_.layout->piece_bytes(part, options_.segment_tokens(part.segment()));
  }

  /// The layer's attention is done.
  void end_layer(pipeline::OpContext context) { scratch_.erase(scratch_key(context)); }
  /// Parts that left a tier and have not been copied onwards; none between requests.
  std::size_t num_departing() const { return departing_.size(); }
  /// Layers of requests whose attention is not done.
  std::size_t num_open_layers() const;

 private:
  using Parts = boost::unordered_flat_map<std::uint64_t, Located>;  // by PieceKey::packed of a part
  struct Scratch {
    Parts staged;     // in host staging
    Parts workspace;  // in device memory
  };

  static std::uint64_t scratch_key(pipeline::OpContext context) {
    return std::uint64_t{context.request} << 16 | static_cast<std::uint16_t>(context.layer_idx + 1);
  }
  /// A read may bring pieces of several layers: each belongs to its own.
  static std::uint64_t scratch_key(pipeline::OpContext context, PieceKey piece) {
    return scratch_key({.request = context.request, .layer_idx = piece.layer_idx()});
  }
  void keep_prefetched(PieceKey part);
  std::optional<cache::Tier> tier_of(PieceKey part) const;
  Located find_source(pipeline::OpContext context, PieceKey part, pipeline::CopyRoute route);
  Located leader_keys(pipeline::OpContext context, PieceKey part) const;
  Located new_block(BlockPool& pool, PieceKey part, const pipeline::Op& fill) const;

  Options options_;
  Parts gpu_, host_, departing_;
  Parts pinned_;  // index 0 stands for the whole slab
  boost::unordered_flat_map<std::uint64_t, Scratch> scratch_;
};

}  // namespace reprefill::engine
