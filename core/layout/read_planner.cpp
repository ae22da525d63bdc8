#include "core/layout/read_planner.hpp"

#include <algorithm>
#include <tuple>

namespace reprefill::layout {
namespace {

constexpr std::uint64_t align_down(std::uint64_t offset) { return offset & ~(kStoreAlignment - 1); }
constexpr std::uint64_t align_up(std::uint64_t offset) { return align_down(offset + kStoreAlignment - 1); }

/// A stretch of one file that is read as a whole: aligned, and not yet cut to the size limit.
struct Run {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::size_t first_piece = 0;
  std::size_t past_piece = 0;
};

bool in_file_order(const PlannedPiece& a, const PlannedPiece& b) {
  return std::tie(a.segment, a.offset, a.list_index) < std::tie(b.segment, b.offset, b.list_index);
}

void locate_pieces(std::span<const PieceKey> keys, const StoreLayout& layout,
                   const std::function<std::uint32_t(SegmentId)>& segment_tokens, ReadPlan& plan) {
  std::uint32_t tokens = 0;
  std::uint64_t logical = 0;
  plan.pieces.resize(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const SegmentId segment = keys[i].segment();
    if (i == 0 || segment != keys[i - 1].segment()) tokens = segment_tokens(segment);
    const Extent extent = layout.extent(keys[i], tokens);
    plan.pieces[i] = {segment, static_cast<std::uint32_t>(i), extent.offset, extent.bytes};
    logical += extent.bytes.value;
  }
  plan.logical_bytes = Bytes{logical};
}

/// The pieces of one block that follow each other in the list and in a chunk-major file: one object over all layers.
Run object_from(const std::vector<PlannedPiece>& pieces, std::size_t first, std::span<const PieceKey> keys) {
  const auto key_of = [&](std::size_t piece) { return keys[pieces[piece].list_index]; };
  std::size_t past = first + 1;
  while (past < pieces.size() && key_of(past).segment() == key_of(first).segment() &&
         key_of(past).index() == key_of(first).index() && key_of(past).kind() <= PieceKind::key_value &&
         pieces[past].offset == pieces[past - 1].end()) {
    ++past;
  }
  return {align_down(pieces[first].offset), align_up(pieces[past - 1].end()), first, past};
}

/// The run that starts at `first`: with merging all pieces that follow within the gap, else this object alone.
Run run_from(const std::vector<PlannedPiece>& pieces, std::size_t first, const ReadLimits& limits,
             std::span<const PieceKey> keys, KvOrder order) {
  if (!limits.merge && order == KvOrder::chunk_major) return object_from(pieces, first, keys);
  Run run{align_down(pieces[first].offset), align_up(pieces[first].end()), first, first + 1};
  if (!limits.merge) return run;
  for (; run.past_piece < pieces.size(); ++run.past_piece) {
    const PlannedPiece& next = pieces[run.past_piece];
    if (next.segment != pieces[first].segment) break;
    const std::uint64_t begin = align_down(next.offset);
    if (begin > run.end && begin - run.end > limits.max_merge_gap.value) break;
    run.end = std::max(run.end, align_up(next.end()));
  }
  return run;
}

/// Cuts a run at multiples of the limit from its begin.
void add_requests(const Run& run, std::uint64_t limit, ReadPlan& plan) {
  std::size_t first = run.first_piece;
  for (std::uint64_t begin = run.begin; begin < run.end;) {
    const std::uint64_t end = run.end - begin > limit ? begin + limit : run.end;
    while (first < run.past_piece && plan.pieces[first].end() <= begin) ++first;
    std::size_t past = first;
    while (past < run.past_piece && plan.pieces[past].offset < end) ++past;
    plan.requests.push_back({plan.pieces[run.first_piece].segment, begin, Bytes{end - begin},
                             static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(past - first)});
    begin = end;
  }
  plan.requested_bytes += Bytes{run.end - run.begin};
}

}  // namespace

void plan_reads(std::span<const PieceKey> pieces, const StoreLayout& layout,
                const std::function<std::uint32_t(SegmentId)>& segment_tokens, const ReadLimits& limits,
                ReadPlan& plan) {
  const std::uint64_t limit = align_down(limits.max_request_bytes.value);
  REPREFILL_CHECK(limit > 0, "a limit of {} bytes a request is below the alignment of {}",
                  limits.max_request_bytes.value, kStoreAlignment);
  plan.requests.clear();
  plan.requested_bytes = Bytes{0};
  locate_pieces(pieces, layout, segment_tokens, plan);
  if (limits.merge && !std::is_sorted(plan.pieces.begin(), plan.pieces.end(), in_file_order)) {
    std::sort(plan.pieces.begin(), plan.pieces.end(), in_file_order);
  }
  for (std::size_t next = 0; next < plan.pieces.size();) {
    const Run run = run_from(plan.pieces, next, limits, pieces, layout.kv_layout().order);
    add_requests(run, limit, plan);
    next = run.past_piece;
  }
}

}  // namespace reprefill::layout
