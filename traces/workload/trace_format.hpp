// The formats of request traces, and reading any of them. mooncake.hpp says more about Mooncake's own.
//
// agentic: one JSON object a file is one conversation, a folder holds many (times are local to a conversation):
//   {"id": "trace_1", "block_size": 64, "hash_id_scope": "local", "tool_tokens": 9117, "system_tokens": 2132,
//   "requests":
//    [{"t": 0.0, "type": "n", "in": 150, "out": 20, "hash_ids": [1, 2]},
//     {"t": 2.5, "type": "subagent", "tool_tokens": 7401, "system_tokens": 1465, "requests": [...]}]}
//   t: seconds from the conversation's start, a nested conversation's from that of its own; ids: full blocks only,
//   local to the conversation and the ones nested in it, prefix keys there.
// bailian: JSON Lines, 16-token blocks, the partly filled last one included; each id stands for its own block only:
//   {"chat_id": 159, "parent_chat_id": 55, "timestamp": 61.114, "input_length": 21, "output_length": 132, "type":
//   "text",
//    "turn": 2, "hash_ids": [1089, 1090]}
// azure: CSV of arrivals and lengths, without prefixes:
//   TIMESTAMP,ContextTokens,GeneratedTokens
//   2023-11-16 18:15:46.6805900,374,44
// lmcache: the JSON Lines that `lmcache server --lookup-hash-log-dir` writes, full chunks only, a folder holds many:
//   {"timestamp": 1711929600.123, "request_id": "a", "model_name": "m", "chunk_size": 256, "seq_len": 700,
//    "dtypes": [...], "shapes": [...], "chunk_hashes": ["0xab12", "0xef56"]}
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "core/base/params.hpp"
#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

enum class TraceFormat : std::uint8_t { mooncake, agentic, bailian, azure, lmcache };

/// Whether conversations of the agentic format share the blocks of their tool definitions and system prompts.
enum class SharePrefix : std::uint8_t { none, tool_and_system };

struct AgenticOptions {
  /// Conversations start as a Poisson process, in order of file name: the files do not say when. Default: one every
  /// 100 s, about 14 at a time at their median length of 23 minutes.
  double conversations_per_s = 0.01;
  std::uint64_t seed = 1;
  /// `tool_and_system` gives the first (tool_tokens + system_tokens) / block_size blocks of conversations with equal
  /// numbers of both common ids. The files do not show that their text is the same; a real service would share it.
  SharePrefix share_prefix = SharePrefix::none;

  bool operator==(const AgenticOptions&) const = default;
};

struct TraceReadOptions {
  TraceFormat format = TraceFormat::mooncake;
  /// Of mooncake and azure (512 where absent); the other formats say their own.
  std::optional<std::uint32_t> block_tokens;
  AgenticOptions agentic;
};

/// Reads a file, packed with gzip if its name ends in .gz; of agentic and lmcache also a folder, whose files are read
/// in order of name. A line (agentic: a file) is held in memory at a time, and the trace. Throws ConfigError naming
/// file, line or key, what was found and what is expected.
///
/// All ids that come out are prefix keys. azure: every block is one of its own. Arrivals: mooncake and bailian as in
/// the file, the others from 0; bailian and lmcache are sorted, which write a line when a request is done.
RequestTrace read_trace(const std::filesystem::path& path, const TraceReadOptions& options);
/// The same for the text of one unpacked file; `origin` takes its place in errors.
RequestTrace parse_trace(std::string_view text, std::string_view origin, const TraceReadOptions& options);

}  // namespace reprefill::traces

template <>
struct reprefill::EnumNames<reprefill::traces::TraceFormat> {
  static constexpr std::pair<const char*, traces::TraceFormat> names[] = {{"mooncake", traces::TraceFormat::mooncake},
                                                                          {"agentic", traces::TraceFormat::agentic},
                                                                          {"bailian", traces::TraceFormat::bailian},
                                                                          {"azure", traces::TraceFormat::azure},
                                                                          {"lmcache", traces::TraceFormat::lmcache}};
};
template <>
struct reprefill::EnumNames<reprefill::traces::SharePrefix> {
  static constexpr std::pair<const char*, traces::SharePrefix> names[] = {
      {"none", traces::SharePrefix::none}, {"tool_and_system", traces::SharePrefix::tool_and_system}};
};
