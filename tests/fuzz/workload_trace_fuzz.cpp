// Any bytes are either a trace, which survives writing and reading, or a ConfigError.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/error.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/replay.hpp"
#include "traces/workload/statistics.hpp"

using namespace reprefill;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    // Small blocks let short inputs hold several.
    const traces::MooncakeOptions options{.block_tokens = size % 2 == 0 ? traces::kMooncakeBlockTokens : 4};
    const traces::RequestTrace trace = traces::parse_mooncake_jsonl(text, "fuzz.jsonl", options);
    const std::string written = traces::to_mooncake_jsonl(trace);
    REPREFILL_CHECK(traces::parse_mooncake_jsonl(written, "written.jsonl", options) == trace, "{} changed when written",
                    written);
    const traces::TraceStatistics statistics = traces::compute_statistics(trace);
    REPREFILL_CHECK(
        statistics.num_leading_blocks_seen_before + statistics.num_distinct_blocks == statistics.num_blocks_referenced,
        "ids are prefix keys, so a block is in the leading run or new");
    const traces::Replay replay = traces::prepare_replay(
        trace, {.context_limit_tokens = 100, .over_limit = traces::OverLimit::truncate, .num_replicas = 3});
    REPREFILL_CHECK(replay.requests.size() == trace.size(), "truncating drops nothing");
  } catch (const ConfigError& error) {
    REPREFILL_CHECK(std::string_view(error.what()).starts_with("fuzz.jsonl"), "no place in '{}'", error.what());
  }
  return 0;
}
