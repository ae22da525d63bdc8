// The importance trace file (semantics 8), version 1. Little-endian; every record starts at a multiple of 8 bytes, so a
// file can be memory-mapped, or streamed record by record.
//
//   file      magic "RPFIMPT\n", u32 version, u32 zero, record 0 (header), records, last record (end)
//   record    u32 kind, u32 zero, u64 payload bytes, u64 checksum, payload, zeros up to a multiple of 8
//             checksum = XXH3-64 of (kind, zero, payload bytes, payload), seeded with the record's number: a record
//             that was dropped, repeated or moved is damage too
//   kind 1    header: JSON, for example
//             {"channels": [{"name": "keys", "num_heads": 4, "granularity_tokens": 1, "encoding": "fp16"},
//                           {"name": "probe:0,1,2", "num_heads": 3, "granularity_tokens": 16, "encoding": "log8"}],
//              "layers_per_period": 8,
//              "recorded_from": {"num_layers": 28, "num_query_heads": 28, "num_kv_heads": 4},
//              "recorded_under": {"system": "contiguous_kv", "budget": "0.05", "chunk_tokens": 16}}
//             A channel has one score per head and run of `granularity_tokens` tokens; heads are the KV heads, or for
//             probe:* the listed query heads. `recorded_from` is the shape of the model that ran, where the recorder
//             said so; `recorded_under` is there only if the run that was recorded had pruned KV.
//   kind 2    scores: u64 request, u32 layer, u32 channel, u32 spans, u32 heads, u64 runs, u32 tokens[spans] (and a
//   zero
//             u32 if spans is odd), then for each head f32 a, f32 b, then for each head its codes[runs]. Runs restart
//             at each span (a segment of the prefix); the last of a span may be partial.
//               fp16: u16 IEEE half, score = half * a; a is a power of two, b is 0
//               log8: u8, score = 0 for code 0, else 2^(a + (code - 1) * b)
//   kind 3    selection, as the run consumed it: u64 request, u32 layer, u32 channel, u32 grouping, u32 unit tokens,
//             u32 groups, u32 lists, u64 units, u32 everything (0 or 1), u32 zero, f64 similarity, f32 scores[groups]
//             [units], then for each list u32 count and u32 indices[count], ascending
//   kind 4    end: u64 number of records before it
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::traces {

enum class ScoreEncoding : std::uint8_t { fp16, log8 };

struct ImportanceChannel {
  std::string name;  // "keys", "probe:0,1,2", "digest:mean", ...
  int num_heads = 1;
  int granularity_tokens = 1;
  ScoreEncoding encoding = ScoreEncoding::fp16;
  bool operator==(const ImportanceChannel&) const = default;
};

struct RecordedUnder {
  std::string system;
  std::string budget;
  int chunk_tokens = 0;
  bool operator==(const RecordedUnder&) const = default;
};

/// Of a system with these resolved parameters: one without a budget keeps everything, one without chunks chooses
/// tokens.
RecordedUnder recorded_under(const std::string& system, const Json& params);

struct RecordedFrom {
  int num_layers = 0;
  int num_query_heads = 0;
  int num_kv_heads = 0;
  bool operator==(const RecordedFrom&) const = default;
};

struct ImportanceTraceHeader {
  std::vector<ImportanceChannel> channels;
  int layers_per_period = 1;  // layers without scores of their own inherit those of an earlier layer of their period
  std::optional<RecordedUnder> recorded_under = std::nullopt;
  std::optional<RecordedFrom> recorded_from = std::nullopt;
  bool operator==(const ImportanceTraceHeader&) const = default;
};

/// Scores of one (request, layer, channel), before coding.
struct ImportanceRecord {
  std::uint64_t request = 0;
  int layer_idx = 0;
  std::size_t channel_idx = 0;
  std::vector<std::uint32_t> span_tokens;  // tokens of each segment of the prefix, root first
  std::vector<float> scores;               // [num_heads][num_runs]
};

/// One selection exactly as selection and caches consumed it.
struct RecordedSelection {
  std::uint64_t request = 0;
  int layer_idx = 0;
  std::size_t channel_idx = 0;
  HeadGrouping grouping = HeadGrouping::all_heads;
  int unit_tokens = 16;
  int num_groups = 1;
  std::vector<float> scores;                       // [num_groups][num_units]
  std::vector<std::vector<std::uint32_t>> chosen;  // ascending unit indices: one list for all heads or one per group
  bool is_everything = false;                      // the layer fell back to a full load
  double similarity = 1;                           // mean pairwise Jaccard index of probed heads
  bool operator==(const RecordedSelection&) const = default;
};

/// Writes to a temporary name beside `path`, which takes the final name only in `finish`, after an fsync. A writer that
/// is destroyed before removes its temporary file. Machine failures throw MachineError.
class ImportanceTraceWriter {
 public:
  ImportanceTraceWriter(const std::filesystem::path& path, const ImportanceTraceHeader& header);
  ~ImportanceTraceWriter();
  ImportanceTraceWriter(ImportanceTraceWriter&&) noexcept;

  void add(const ImportanceRecord& record);
  void add(const RecordedSelection& selection);
  void finish();

 private:
  class File;
  void write_record(std::uint32_t kind, const std::vector<std::byte>& payload);

  ImportanceTraceHeader header_;
  std::unique_ptr<File> file_;
  std::uint64_t num_records_ = 0;
};

namespace detail {

enum RecordKind : std::uint32_t { header_record = 1, scores_record = 2, selection_record = 3, end_record = 4 };

inline constexpr std::string_view kTraceMagic = "RPFIMPT\n";
inline constexpr std::uint32_t kTraceVersion = 1;
inline constexpr std::size_t kPreambleBytes = 16;
inline constexpr std::size_t kRecordHeadBytes = 24;

std::uint64_t record_checksum(std::uint32_t kind, std::span<const std::byte> payload, std::uint64_t record_idx);

/// A record's payload inside the file's bytes, and its place for messages.
struct RecordView {
  std::uint32_t kind = 0;
  std::span<const std::byte> payload;
  std::string place;  // "file.rimp: record 3 at byte 1024"
};

/// Checks magic, version, checksums and framing of a whole file. Throws ConfigError naming file and record.
std::vector<RecordView> split_records(std::span<const std::byte> bytes, std::string_view origin);

/// A scores record without its codes decoded; looks into the file's bytes.
struct ScoresView {
  std::uint64_t request = 0;
  int layer_idx = 0;
  std::size_t channel_idx = 0;
  std::vector<std::uint32_t> span_tokens;
  std::size_t num_runs = 0;
  std::span<const std::byte> scales;  // two f32 for each head
  std::span<const std::byte> codes;
};

ImportanceTraceHeader parse_header(const RecordView& record);
/// Also checks that every code decodes to a finite, non-negative score.
ScoresView parse_scores(const RecordView& record, const ImportanceTraceHeader& header);
RecordedSelection parse_selection(const RecordView& record, const ImportanceTraceHeader& header);

/// Scores of one head, [num_runs].
void decode_scores(const ScoresView& view, const ImportanceChannel& channel, int head, std::span<float> out);

Json header_to_json(const ImportanceTraceHeader& header);

}  // namespace detail
}  // namespace reprefill::traces
