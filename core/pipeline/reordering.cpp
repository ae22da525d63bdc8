#include "core/pipeline/reordering.hpp"

#include <algorithm>

#include "core/base/random.hpp"
#include "core/pipeline/request.hpp"

namespace reprefill::pipeline {
namespace {

/// Rewriting belongs to no request: nobody's first token waits for it.
constexpr std::uint32_t kNoRequest = 0xffffffff;

}  // namespace

void MeanImportance::add(const Scores& scores, std::size_t first_token, std::uint32_t num_tokens) {
  REPREFILL_CHECK(first_token + num_tokens <= scores.num_units && num_tokens <= sums_.size(),
                  "scores of tokens {} to {} out of {}, for a segment of {}", first_token, first_token + num_tokens,
                  scores.num_units, sums_.size());
  for (int group = 0; group < scores.num_groups; ++group) {
    const std::span<const float> of_group = scores.group(group).subspan(first_token, num_tokens);
    for (std::uint32_t token = 0; token < num_tokens; ++token) sums_[token] += of_group[token];
  }
  ++num_requests_;
}

std::vector<CalibrationRequest> make_calibration_requests(std::uint64_t task, const std::vector<SegmentSpan>& prefix,
                                                          std::uint32_t count) {
  std::vector<CalibrationRequest> requests;
  for (std::uint32_t i = 0; i < count; ++i) {
    requests.push_back({.number = combine64(hash_name("calibration"), i), .task = task, .prefix = prefix});
  }
  return requests;
}

layout::TokenOrder calibrated_order(const traces::ImportanceSource& importance,
                                    std::span<const CalibrationRequest> requests, SegmentId segment,
                                    std::uint32_t num_tokens, int layer_idx) {
  constexpr traces::HeadGrouping kGrouping = traces::HeadGrouping::probe_heads;
  Scores scores;
  scores.num_groups = importance.num_groups(kGrouping);
  MeanImportance mean(num_tokens);
  for (const CalibrationRequest& request : requests) {
    const auto span = std::ranges::find(request.prefix, segment, &SegmentSpan::segment);
    REPREFILL_CHECK(span != request.prefix.end(), "calibration request {} is not on segment {}", request.number,
                    segment.value);
    scores.num_units = traces::num_units(request.prefix, 1);
    scores.values.resize(static_cast<std::size_t>(scores.num_groups) * scores.num_units);
    importance.unit_scores({.request = request.number,
                            .task = request.task,
                            .prefix = request.prefix,
                            .layer_idx = layer_idx,
                            .grouping = kGrouping},
                           1, scores.values);
    mean.add(scores, traces::total_tokens(std::span(request.prefix.begin(), span)), span->num_tokens);
  }
  return mean.order();
}

std::span<const std::uint32_t> Reordering::places(SegmentId segment, int layer_idx) const {
  if (params_.io == ReorderIo::offline && environment_.token_places) {
    return environment_.token_places(segment, layer_idx);
  }
  const auto layer = layers_.find({segment.value, layer_idx});
  return layer == layers_.end() ? std::span<const std::uint32_t>{} : layer->second.order.place_of();
}

void Reordering::begin_request(Machine& machine) {
  if (params_.io != ReorderIo::background) return;
  adopt_written();
  if (interval_ && interval_->done()) {
    rewrite_used(machine);
    interval_ = nullptr;
  }
  if (interval_) return;
  const auto interval_ns = static_cast<std::uint64_t>(nanoseconds_from_seconds(params_.interval_s).value);
  interval_ =
      machine.host({.request = kNoRequest, .layer_idx = -1}, {.kind = HostTaskKind::wait, .count = interval_ns}, {});
}

void Reordering::note_scores(const Request& request, int layer_idx, const Scores& scores) {
  if (!reads_scores()) return;
  std::size_t first_token = 0;
  for (const SegmentSpan& span : request.stored_prefix) {
    const auto layer =
        layers_.try_emplace({span.segment.value, layer_idx}, environment_.segment_tokens(span.segment)).first;
    layer->second.importance.add(scores, first_token, span.num_tokens);
    first_token += span.num_tokens;
  }
}

std::vector<PieceKey> Reordering::pieces_of(LayerKey key, std::uint32_t num_tokens) const {
  const SegmentId segment{key.first};
  const std::uint32_t num_blocks = num_tokens / layout_.kv_layout().block_tokens;
  std::vector<PieceKey> pieces;
  for (const PieceKind kind : {PieceKind::key, PieceKind::value}) {
    for (std::uint32_t block = 0; block < num_blocks; ++block) {
      pieces.push_back(PieceKey::make(segment, key.second, kind, block));
    }
  }
  return pieces;
}

void Reordering::adopt_written() {
  std::erase_if(being_written_, [&](LayerKey key) {
    const auto layer = layers_.find(key);
    return layer == layers_.end() || adopt(key, layer->second);
  });
}

/// A layer that a request in flight reads in its old order waits for a later request.
bool Reordering::adopt(LayerKey key, Layer& layer) {
  if (!layer.written->done()) return false;
  const std::vector<PieceKey> pieces = pieces_of(key, layer.pending.num_tokens());
  if (std::any_of(pieces.begin(), pieces.end(), [&](PieceKey piece) { return cache_.is_pinned(piece); })) return false;
  for (const PieceKey piece : pieces) cache_.discard(piece, moves_);
  statistics_.discarded_pieces += moves_.size();
  moves_.clear();
  layer.order = std::move(layer.pending);
  layer.pending = {};
  layer.written = nullptr;
  return true;
}

void Reordering::rewrite_used(Machine& machine) {
  std::erase_if(layers_, [&](const auto& entry) {  // of segments that left the store
    return environment_.segment_tokens(SegmentId{entry.first.first}) == 0;
  });
  for (auto& [key, layer] : layers_) {
    const std::uint32_t requests_since = layer.importance.num_requests() - layer.requests_when_written;
    if (layer.written || requests_since < params_.calibration_requests) continue;
    rewrite(machine, key, layer);
  }
}

void Reordering::rewrite(Machine& machine, LayerKey key, Layer& layer) {
  layer.requests_when_written = layer.importance.num_requests();
  layer.pending = layer.importance.order();
  if (layer.pending == layer.order) return;
  const SegmentId segment{key.first};
  const std::uint32_t num_tokens = environment_.segment_tokens(segment);
  PieceList pieces;
  for (const PieceKey piece : pieces_of(key, num_tokens)) pieces.add(piece, layout_.piece_bytes(piece, num_tokens));
  const OpContext context{.request = kNoRequest, .layer_idx = key.second};
  // Keys for scoring stay where they are: only K, V and the permutation are written.
  const Bytes size = pieces.bytes + Bytes{layout_.permutation_bytes(num_tokens)};
  statistics_.read += pieces.bytes;
  statistics_.written += size;
  ++statistics_.layers_rewritten;
  const ReadOp read = machine.read(context, std::move(pieces), ReadPriority::prefetch, {});
  layer.written = machine.write(context, segment, size, Op(read));
  being_written_.push_back(key);
}

Bytes Reordering::metadata() const {
  std::uint64_t entries = 0;
  for (const auto& [key, layer] : layers_) entries += layer.order.num_tokens();
  return Bytes{entries * layout::kPermutationEntryBytes};
}

const ParamTable<ReorderParams>& reorder_params() {
  using P = ReorderParams;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::io, {.name = "io",
                   .doc = "when a segment's tokens are packed by mean importance: never, during the run (rewriting "
                          "shares the drive), or before it",
                   .source = "semantics 3: off"});
    t.add(&P::scope, {.name = "scope",
                      .doc = "what has an order of its own, inside one segment",
                      .source = "semantics 3: each layer"});
    t.add(&P::calibration_requests, {.name = "calibration_requests",
                                     .doc = "requests whose importance is averaged before a segment is rewritten",
                                     .source = "reference 5, IMPRESS's implementation: 4 a task",
                                     .unit = "requests",
                                     .minimum = 1,
                                     .maximum = 1e6});
    t.add(&P::interval_s, {.name = "interval_s",
                           .doc = "of io background: time between two rounds of rewriting, in seconds",
                           .source = "reference 3.2: about 10 minutes",
                           .minimum = 1e-3,
                           .maximum = 1e6});
    t.add(&P::map_cost_per_token, {.name = "map_cost_per_token_ns",
                                   .doc = "host time to find a chosen token's place",
                                   .source = "assumption: one read of a table in host memory; reference 3.2 has less "
                                             "than 2 % of TTFT for the mapping",
                                   .maximum = 1e6});
    return t;
  }();
  return table;
}

}  // namespace reprefill::pipeline
