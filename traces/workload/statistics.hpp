// What a trace offers to a prefix cache: the columns of the statistics tables in the READMEs of published traces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/json.hpp"
#include "core/base/units.hpp"
#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

/// Percentiles are nearest-rank: the smallest value that at least p percent of the values do not exceed.
struct TokenStatistics {
  double mean = 0;
  std::uint64_t p50 = 0;
  std::uint64_t p95 = 0;
  std::uint64_t max = 0;
};

/// Prefix figures assume an unbounded cache that is empty at the first request. In it, a request's leading run is the
/// longest run of its first blocks that earlier requests have used. Where every request starts with the same block (a
/// system prompt), a run of that block alone is no hit; it is counted in the length of a longer one.
struct TraceStatistics {
  std::size_t num_requests = 0;
  Nanoseconds first_arrival;
  Nanoseconds last_arrival;
  TokenStatistics input_tokens;
  TokenStatistics output_tokens;
  std::uint64_t num_blocks_referenced = 0;
  std::uint64_t num_distinct_blocks = 0;
  std::uint64_t num_distinct_blocks_used_again = 0;
  /// Sum of all leading runs, common first block included.
  std::uint64_t num_leading_blocks_seen_before = 0;
  /// The id with which every request starts, if there is one.
  std::optional<std::uint64_t> common_first_block;
  std::size_t num_requests_with_hit = 0;

  struct Hits {
    std::uint64_t length_p50_blocks = 0;
    std::uint64_t length_p95_blocks = 0;
    /// Since the last use of the whole hit prefix, that is of its last block.
    Nanoseconds reuse_time_p50;
    Nanoseconds reuse_time_p95;
  };
  std::optional<Hits> hits;  // absent where no request has one

  double leading_blocks_seen_before_fraction() const;
  double distinct_blocks_used_again_fraction() const;
  double requests_with_hit_fraction() const;
};

/// All zero and absent for an empty trace.
TraceStatistics compute_statistics(const RequestTrace& trace);

Json to_json(const TraceStatistics& statistics);
/// One figure a line, for a terminal.
std::string to_text(const TraceStatistics& statistics);
/// The row of the READMEs' Markdown tables, and its header.
std::string to_markdown_row(const TraceStatistics& statistics, std::string_view label);
std::string markdown_header();

}  // namespace reprefill::traces
