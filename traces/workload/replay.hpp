// From a recorded trace to requests that a simulator can admit one by one (semantics 7, `trace`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/base/params.hpp"
#include "core/base/units.hpp"
#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

/// What happens to a request whose prompt is longer than the context limit.
enum class OverLimit { drop, truncate };

struct ReplayOptions {
  /// Largest prompt, in tokens (output does not count: a worker that only prefills). Absent: no limit.
  std::optional<std::uint32_t> context_limit_tokens = std::nullopt;
  OverLimit over_limit = OverLimit::drop;
  /// Above 1 stretches time, which lowers the load.
  double time_scale = 1.0;
  std::uint32_t num_replicas = 1;
  /// The longest time over which one bin's requests are spread. Absent: until the next distinct timestamp, however far.
  std::optional<Nanoseconds> max_bin_width = std::nullopt;
};

struct ReplayRequest {
  /// Arrival after spreading and scaling, length after truncation; `block_ids` points into the trace.
  TraceRequest request;
  std::size_t trace_idx = 0;
  std::uint32_t replica_idx = 0;
};

struct Replay {
  std::vector<ReplayRequest> requests;  // in order of arrival, ties in the order of the trace
  std::size_t num_dropped = 0;
  std::size_t num_truncated = 0;
};

/// Prepares a trace, which must outlive the result. Time starts at 0 with the trace's first request.
///
/// Spreading: n requests with one timestamp T, followed by the distinct timestamp T', arrive at T + i * (T' - T) / n
/// for i = 0 .. n - 1, rounded down to nanoseconds. The last timestamp's bin is as long as the one before it; where all
/// requests have one timestamp, its length is not known and they arrive together. This happens before any request is
/// dropped, so that an arrival does not depend on the context limit.
///
/// Truncation keeps the head of a prompt, since only that keeps its identity.
///
/// Replicas: a request goes to replica mix64(second block id, or the first where there is no second) modulo
/// num_replicas. Not the first block, because it is often a system prompt that all requests share; turns of one
/// conversation share the second one, so they stay together. A request without ids goes by its number.
///
/// Throws ConfigError for options out of range.
Replay prepare_replay(const RequestTrace& trace, const ReplayOptions& options);

/// Scales arrivals, about time 0, so that recomputing every prompt in full would keep each replica busy for a share
/// `target_utilisation` of the time (semantics 7): arrivals are multiplied by
///   sum of recompute_seconds_of(request) / (target_utilisation * (last - first arrival) * num_replicas).
/// Returns that factor. Throws ConfigError where it is not defined: no requests, all at one time, no work.
double scale_to_utilisation(std::span<ReplayRequest> requests, double target_utilisation, std::uint32_t num_replicas,
                            const std::function<double(const TraceRequest&)>& recompute_seconds_of);

}  // namespace reprefill::traces

template <>
struct reprefill::EnumNames<reprefill::traces::OverLimit> {
  static constexpr std::pair<const char*, traces::OverLimit> names[] = {{"drop", traces::OverLimit::drop},
                                                                        {"truncate", traces::OverLimit::truncate}};
};
