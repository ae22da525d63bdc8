// From pieces to requests to the device: alignment, merging and splitting, the same on every machine (semantics 5).
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/layout/store_layout.hpp"

namespace reprefill::layout {

/// `direct`: 512 KiB, merging, gap 0. `prototype`: one read per object, so no merging and no limit.
struct ReadLimits {
  Bytes max_request_bytes{512 * 1024};  // at least kStoreAlignment; counts in whole aligned blocks
  bool merge = true;
  Bytes max_merge_gap{0};  // bytes between two pieces that are read along rather than skipped
};

struct ReadRequest {
  SegmentId segment;
  std::uint64_t offset = 0;  // both multiples of kStoreAlignment
  Bytes bytes;
  std::uint32_t first_piece = 0;  // in ReadPlan::pieces: those with bytes in this request. A piece that is cut by the
  std::uint32_t num_pieces = 0;   // size limit belongs to each of its requests.
  bool operator==(const ReadRequest&) const = default;
};

/// Where one piece of the list lies in its segment's file.
struct PlannedPiece {
  SegmentId segment;
  std::uint32_t list_index = 0;  // in the list that was planned
  std::uint64_t offset = 0;
  Bytes bytes;
  std::uint64_t end() const { return offset + bytes.value; }
};

struct ReadPlan {
  std::vector<ReadRequest> requests;
  std::vector<PlannedPiece> pieces;  // in the order of the requests
  Bytes requested_bytes;             // what the device is asked for
  Bytes logical_bytes;               // what the pieces hold
};

/// Aligns each piece outward to 4 KiB; with `merge`, goes through them in file order (segment, offset) and joins what
/// touches, overlaps or lies within the gap, so that no aligned block is read twice; splits above the limit. Without
/// merging, list order is kept and pieces that share an aligned block each read it; in a chunk-major file neighbours of
/// one block are one object, and read as one. `plan` is overwritten: hand in the
/// same one again and again, and planning allocates nothing.
void plan_reads(std::span<const PieceKey> pieces, const StoreLayout& layout,
                const std::function<std::uint32_t(SegmentId)>& segment_tokens, const ReadLimits& limits,
                ReadPlan& plan);

}  // namespace reprefill::layout
