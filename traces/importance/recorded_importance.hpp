// Importance from a trace file: what a run with full KV, or a pruned run, was measured to have (semantics 8).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "traces/importance/importance_trace.hpp"

namespace reprefill::traces {

/// Serves a query from the record of the same request and layer. A layer without a record takes the nearest earlier one
/// of its period. Recorded selections come first: their scores are handed out exactly as the run consumed them.
/// Queries with a digest are served from the channel of its name ("digest:mean", "int4_keys").
/// A query's prefix may be a leading part of the recorded one, cut into other segments, as long as units start and end
/// where recorded runs do.
class RecordedImportance final : public ImportanceSource {
 public:
  struct Options {
    std::string keys_channel = "keys";  // serves all_heads and per_kv_head of scorers that read keys
    std::string probe_channel = "";     // serves probe_heads; empty: the first one named probe:*
  };

  /// Maps the file and checks all of it. Throws ConfigError naming file and record where it is damaged.
  static RecordedImportance open(const std::filesystem::path& path, const Options& options);
  static RecordedImportance open(const std::filesystem::path& path) { return open(path, Options{}); }
  /// The same for bytes in memory; `origin` names them in messages.
  static RecordedImportance from_bytes(std::vector<std::byte> bytes, std::string origin, const Options& options);

  const ImportanceTraceHeader& header() const { return header_; }
  /// Numbers of requests that have a record, ascending.
  std::vector<std::uint64_t> requests() const;
  /// The stored prefix that a request's scores cover, segments numbered from 0. Throws ConfigError for a request
  /// without scores.
  std::vector<SegmentSpan> prefix_of(std::uint64_t request) const;
  /// One more than the last layer with scores.
  int num_layers() const;

  int num_groups(HeadGrouping grouping) const override;
  void unit_scores(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const override;
  bool has_channel(HeadGrouping grouping) const override;
  int granularity_tokens(HeadGrouping grouping) const override;

  /// The selection that the run made at exactly this request, layer, grouping and unit size, if it is an as-run trace.
  std::optional<RecordedSelection> selection(std::uint64_t request, int layer_idx, HeadGrouping grouping,
                                             int unit_tokens, KeyDigest digest = KeyDigest::none) const;

 private:
  using ScoresKey = std::tuple<std::uint64_t, int, std::size_t>;                        // request, layer, channel
  using SelectionKey = std::tuple<std::uint64_t, int, std::size_t, HeadGrouping, int>;  // and grouping, unit tokens

  RecordedImportance(std::shared_ptr<const void> owner, std::span<const std::byte> bytes, std::string origin,
                     const Options& options);

  std::optional<std::size_t> channel_of(HeadGrouping grouping, KeyDigest digest = KeyDigest::none) const;
  std::size_t require_channel(HeadGrouping grouping, KeyDigest digest = KeyDigest::none) const;
  void sum_runs(const detail::ScoresView& view, const ImportanceQuery& query, int unit_tokens,
                std::span<float> out) const;
  std::vector<std::uint32_t> units_of_runs(const detail::ScoresView& view, const ImportanceQuery& query,
                                           int unit_tokens) const;

  std::shared_ptr<const void> owner_;  // keeps the bytes that the views look into
  std::string origin_;
  ImportanceTraceHeader header_;
  std::optional<std::size_t> keys_channel_, probe_channel_;
  std::map<KeyDigest, std::size_t> digest_channels_;
  std::map<ScoresKey, detail::ScoresView> scores_;
  std::map<SelectionKey, detail::RecordView> selections_;
};

}  // namespace reprefill::traces
