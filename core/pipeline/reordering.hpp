// IMPRESS's reordering: the tokens of one stored segment, layer by layer, packed into blocks by their mean importance
// (reference 3.2, semantics 3).
#pragma once

#include <map>
#include <span>
#include <vector>

#include "core/base/params.hpp"
#include "core/layout/token_order.hpp"
#include "core/pipeline/loader.hpp"
#include "core/pipeline/selection.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::pipeline {

enum class ReorderIo : std::uint8_t {
  off,
  background,  // during the run, from the importance that its requests had
  offline      // before the run; the engine's store has it from `reprefill store reorder`
};
enum class ReorderScope : std::uint8_t { per_layer };

struct ReorderParams {
  ReorderIo io = ReorderIo::off;
  ReorderScope scope = ReorderScope::per_layer;
  std::uint32_t calibration_requests = 4;
  double interval_s = 600;
  Nanoseconds map_cost_per_token{2};
};

const ParamTable<ReorderParams>& reorder_params();

/// Mean importance of a segment's tokens over requests. To a request that shares a leading part of the segment the rest
/// has none.
class MeanImportance {
 public:
  explicit MeanImportance(std::uint32_t num_tokens) : sums_(num_tokens) {}

  /// One request's scores of the leading tokens, [groups][tokens of its whole prefix]; the segment's begin at
  /// `first_token` of the prefix. Groups are summed.
  void add(const Scores& scores, std::size_t first_token, std::uint32_t num_tokens);
  std::uint32_t num_requests() const { return num_requests_; }
  layout::TokenOrder order() const { return layout::TokenOrder::by_importance(sums_); }

 private:
  std::vector<float> sums_;  // of the same number of requests: ordered like means
  std::uint32_t num_requests_ = 0;
};

/// A request before the run whose importance orders stored tokens.
struct CalibrationRequest {
  std::uint64_t number = 0;
  std::uint64_t task = 0;
  std::vector<SegmentSpan> prefix;  // the stored one, root first
};

/// Requests of one task on one prefix, for a source that has scores of any request. Their numbers are no run's.
std::vector<CalibrationRequest> make_calibration_requests(std::uint64_t task, const std::vector<SegmentSpan>& prefix,
                                                          std::uint32_t count);

/// `reorder.io: offline`, on both machines: the segment's tokens in one layer by their mean importance to the requests,
/// each of which has the segment in its prefix.
layout::TokenOrder calibrated_order(const traces::ImportanceSource& importance,
                                    std::span<const CalibrationRequest> requests, SegmentId segment,
                                    std::uint32_t num_tokens, int layer_idx);

/// What rewriting has cost so far; in background runs only.
struct ReorderStatistics {
  std::uint64_t layers_rewritten = 0;  // of segments
  Bytes read, written;
  std::uint64_t discarded_pieces = 0;  // resident in their old order
};

/// Where tokens lie, and rewriting in the background: every interval each segment's layer that enough requests have
/// used since it was written last is read, packed anew and written. It is read in its new order once it is written, by
/// requests that come then; what the tiers hold of it in the old order is let go.
class Reordering {
 public:
  Reordering(const ReorderParams& params, const SystemEnvironment& environment, cache::TieredCache& cache,
             const layout::StoreLayout& layout)
      : params_(params), environment_(environment), cache_(cache), layout_(layout) {}

  const ReorderParams& params() const { return params_; }
  bool is_on() const { return params_.io != ReorderIo::off; }
  /// [token of the segment] -> its place in the payload; empty: the tokens' own order.
  std::span<const std::uint32_t> places(SegmentId segment, int layer_idx) const;

  /// The next three do nothing but in the background. At the beginning of a request:
  void begin_request(Machine& machine);
  void note_scores(const Request& request, int layer_idx, const Scores& scores);
  bool reads_scores() const { return params_.io == ReorderIo::background; }
  const ReorderStatistics& statistics() const { return statistics_; }
  /// Bytes of host memory that places and means take.
  Bytes metadata() const;

 private:
  struct Layer {
    explicit Layer(std::uint32_t num_tokens) : importance(num_tokens) {}
    MeanImportance importance;
    std::uint32_t requests_when_written = 0;
    layout::TokenOrder order;    // empty: the tokens' own
    layout::TokenOrder pending;  // once `written` is done
    Op written;
  };
  using LayerKey = std::pair<std::uint32_t, int>;  // segment, layer

  void adopt_written();
  bool adopt(LayerKey key, Layer& layer);
  void rewrite_used(Machine& machine);
  void rewrite(Machine& machine, LayerKey key, Layer& layer);
  std::vector<PieceKey> pieces_of(LayerKey key, std::uint32_t num_tokens) const;

  ReorderParams params_;
  const SystemEnvironment& environment_;
  cache::TieredCache& cache_;
  const layout::StoreLayout& layout_;
  std::map<LayerKey, Layer> layers_;  // of what was scored in the background
  std::vector<LayerKey> being_written_;
  Op interval_;
  ReorderStatistics statistics_;
  std::vector<cache::Move> moves_;
};

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::ReorderIo> {
  static constexpr std::pair<const char*, pipeline::ReorderIo> names[] = {
      {"off", pipeline::ReorderIo::off},
      {"background", pipeline::ReorderIo::background},
      {"offline", pipeline::ReorderIo::offline}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::ReorderScope> {
  static constexpr std::pair<const char*, pipeline::ReorderScope> names[] = {
      {"per_layer", pipeline::ReorderScope::per_layer}};
};
