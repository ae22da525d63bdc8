// The formats beside Mooncake's own: any bytes are either a trace that converts, or a ConfigError that names its place.
// The first byte chooses the format, and whether the rest is packed with gzip.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/error.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/statistics.hpp"
#include "traces/workload/text_source.hpp"
#include "traces/workload/trace_convert.hpp"
#include "traces/workload/trace_format.hpp"

using namespace reprefill;

namespace {

void check_trace(const traces::RequestTrace& trace) {
  const traces::TraceStatistics statistics = traces::compute_statistics(trace);
  REPREFILL_CHECK(
      statistics.num_leading_blocks_seen_before + statistics.num_distinct_blocks == statistics.num_blocks_referenced,
      "ids are prefix keys, so a block is in the leading run or new");
  for (std::size_t i = 1; i < trace.size(); ++i) {
    REPREFILL_CHECK(trace[i - 1].arrival <= trace[i].arrival, "request {} before the one in front of it", i);
  }
  const traces::RequestTrace larger = in_whole_milliseconds(with_blocks_of(trace, 2 * trace.block_tokens()));
  const std::string written = to_mooncake_jsonl(larger);
  REPREFILL_CHECK(
      traces::parse_mooncake_jsonl(written, "written.jsonl", {.block_tokens = larger.block_tokens()}) == larger,
      "{} changed when written", written);
}

void parse(std::uint8_t choice, std::string_view text) {
  constexpr traces::TraceFormat kFormats[] = {traces::TraceFormat::agentic, traces::TraceFormat::bailian,
                                              traces::TraceFormat::azure, traces::TraceFormat::lmcache};
  traces::TraceReadOptions options{.format = kFormats[choice % 4], .block_tokens = std::nullopt, .agentic = {}};
  if ((choice & 4) != 0) options.agentic.share_prefix = traces::SharePrefix::tool_and_system;
  std::vector<char> unpacked;
  if ((choice & 8) != 0) {
    constexpr std::size_t kMaxUnpacked = 1 << 20;
    unpacked = read_all(*gunzip(traces::bytes_of(text), "fuzz"), "fuzz", kMaxUnpacked, 0);
    text = {unpacked.data(), unpacked.size()};
  }
  check_trace(parse_trace(text, "fuzz", options));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    parse(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const ConfigError& error) {
    const std::string_view what = error.what();
    // Blocks twice as large may be more tokens than a block may have; that error is about the conversion.
    REPREFILL_CHECK(what.starts_with("fuzz") || what.starts_with("found") || what.starts_with("request "),
                    "no place in '{}'", what);
  }
  return 0;
}
