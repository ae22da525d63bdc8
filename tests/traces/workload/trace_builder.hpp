// Small traces, written down in one place.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "traces/workload/mooncake.hpp"
#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

struct RequestLine {
  std::int64_t timestamp_ms = 0;
  std::uint32_t input_tokens = 0;
  std::uint32_t output_tokens = 0;
  std::vector<std::uint64_t> ids;
};

inline RequestTrace make_trace(std::uint32_t block_tokens, const std::vector<RequestLine>& lines) {
  RequestTrace trace(block_tokens);
  for (const RequestLine& line : lines) {
    trace.append({.arrival = Nanoseconds{line.timestamp_ms * 1'000'000},
                  .input_tokens = line.input_tokens,
                  .output_tokens = line.output_tokens,
                  .block_ids = line.ids});
  }
  return trace;
}

}  // namespace reprefill::traces
