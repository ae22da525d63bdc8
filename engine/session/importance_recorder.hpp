// Writes what a run scored and chose, so that the simulator can follow it exactly (semantics 8).
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/pipeline/machine.hpp"
#include "core/pipeline/request.hpp"
#include "engine/executor/executor.hpp"
#include "traces/importance/importance_trace.hpp"

namespace reprefill::engine {

enum class RecordMode : std::uint8_t {
  as_run,  // selections and the fp32 scores behind them, of the system that ran
  full     // token scores of every layer, from a forward pass that keeps the whole prefix
};

class ImportanceRecorder {
 public:
  struct Options {
    RecordMode mode = RecordMode::as_run;
    ModelGeometry geometry;
    std::vector<int> probe_heads = {0, 1, 2};
    traces::RecordedUnder recorded_under = {};  // as_run only
    std::vector<KeyDigest> digests = {};        // channels of scorers that read these, of chunks of `chunk_tokens`
    std::uint32_t chunk_tokens = 16;
  };
  ImportanceRecorder(const std::filesystem::path& file, const Options& options);

  /// What a run of a system with these resolved parameters scores by.
  static void add_channels_of(const Json& system_params, Options& options);

  RecordMode mode() const { return options_.mode; }
  void add_selection(const pipeline::Request& request, int layer_idx, const pipeline::ScoreSpec& spec,
                     const pipeline::Scores& scores, const pipeline::Selection& selection);
  /// Token scores of one layer after `project` of all own tokens: KV heads, probed heads, then chunk scores by digest.
  /// keys: all KV heads' keys of the stored prefix, in host memory.
  void add_layer(Executor& executor, Sequence& sequence, const pipeline::Request& request, int layer_idx,
                 const KeyView& keys);
  /// The file takes its name.
  void finish() { writer_.finish(); }

 private:
  void add_digest(Executor& executor, Sequence& sequence, const pipeline::Request& request, int layer_idx,
                  const KeyView& keys, std::size_t digest_idx);
  static traces::ImportanceTraceHeader header_of(const Options& options);

  Options options_;
  traces::ImportanceTraceWriter writer_;
};

}  // namespace reprefill::engine

template <>
struct reprefill::EnumNames<reprefill::engine::RecordMode> {
  static constexpr std::pair<const char*, engine::RecordMode> names[] = {{"as_run", engine::RecordMode::as_run},
                                                                         {"full", engine::RecordMode::full}};
};
