// The trace format of Mooncake (Qin et al., FAST '25): JSON Lines, one request a line, in order of arrival.
//
//   {"timestamp": 27000, "input_length": 600, "output_length": 52, "hash_ids": [0, 17]}
//
// timestamp: milliseconds; lengths: tokens; hash_ids: one id for each block of the prompt, the partly filled last block
// included (len(hash_ids) == ceil(input_length / 512)). An id is a prefix key: always the same predecessor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

inline constexpr std::uint32_t kMooncakeBlockTokens = 512;
/// Milliseconds since 1970 fit (until 2096), and nanoseconds of it fit in 63 bits.
inline constexpr std::uint64_t kMaxTimestampMs = 4'000'000'000'000;
/// Above the longest context window on offer (10 M tokens); a larger length is a mistake in the file.
inline constexpr std::uint32_t kMaxRequestTokens = 1u << 24;

struct MooncakeOptions {
  /// 512 in every published file; other tools write the same schema with other block sizes.
  std::uint32_t block_tokens = kMooncakeBlockTokens;
};

/// Reads a file. Tolerated: CRLF, blank lines, a UTF-8 byte order mark in front, keys that other tools add, whole
/// numbers written as 3.0. Refused with ConfigError naming file, line and key, what was found and what is expected:
/// anything else, duplicate keys, times that go back, and ids that are no prefix keys.
RequestTrace read_mooncake_jsonl(const std::filesystem::path& path, const MooncakeOptions& options = {});
/// The same for text in memory; `origin` takes the file's place in errors.
RequestTrace parse_mooncake_jsonl(std::string_view text, std::string_view origin, const MooncakeOptions& options = {});

/// In the spelling of the published files, so that reading one and writing it gives the same bytes. Throws ConfigError
/// for what the format cannot hold: an arrival that is no whole number of milliseconds, or a request without tokens.
std::string to_mooncake_jsonl(const RequestTrace& trace);
/// Writes under a temporary name, fsyncs, renames: the file is whole or as it was before.
void write_mooncake_jsonl(const RequestTrace& trace, const std::filesystem::path& path);

}  // namespace reprefill::traces
