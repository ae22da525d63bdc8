#include "traces/workload/replay.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::traces {
namespace {

/// About 146 years: half of what 63 bits of nanoseconds hold, so that adding durations to arrivals cannot overflow.
constexpr double kMaxArrivalNs = 4.6e18;

void check_options(const ReplayOptions& options) {
  if (!std::isfinite(options.time_scale) || options.time_scale <= 0) {
    throw ConfigError(fmt::format("time_scale: found {}; expected a positive number", options.time_scale));
  }
  if (options.num_replicas == 0) throw ConfigError("num_replicas: found 0; expected at least 1");
  if (options.context_limit_tokens == 0u) throw ConfigError("context_limit: found 0 tokens; expected at least 1");
  if (options.max_bin_width && options.max_bin_width->value < 0) {
    throw ConfigError(fmt::format("max_bin_width: found {} ns; expected at least 0", options.max_bin_width->value));
  }
}

/// Rounded down. Multiplying by one positive factor and rounding down keep the order of arrivals.
Nanoseconds scaled(Nanoseconds arrival, double factor) {
  if (factor == 1.0) return arrival;
  const double result = static_cast<double>(arrival.value) * factor;
  if (!(result < kMaxArrivalNs)) {
    throw ConfigError(
        fmt::format("time scale {}: an arrival at {:.1f} s would move to {:.3g} s; expected less than {:.3g} s", factor,
                    to_seconds(arrival), result * 1e-9, kMaxArrivalNs * 1e-9));
  }
  return Nanoseconds{static_cast<std::int64_t>(result)};
}

/// i * width / n without overflow: width is below 2^63 and so may not be multiplied by i.
Nanoseconds share_of(Nanoseconds width, std::size_t i, std::size_t n) {
  __extension__ using Wide = __int128;
  return Nanoseconds{static_cast<std::int64_t>(Wide{width.value} * static_cast<Wide>(i) / static_cast<Wide>(n))};
}

std::vector<Nanoseconds> spread_arrivals(const RequestTrace& trace, const ReplayOptions& options) {
  std::vector<Nanoseconds> arrivals;
  arrivals.reserve(trace.size());
  const Nanoseconds origin = trace[0].arrival;
  Nanoseconds width;  // of the bin before, which the last bin takes over
  for (std::size_t bin_start = 0; bin_start < trace.size();) {
    const Nanoseconds start = trace[bin_start].arrival;
    std::size_t bin_end = bin_start + 1;
    while (bin_end < trace.size() && trace[bin_end].arrival == start) ++bin_end;
    if (bin_end < trace.size()) width = trace[bin_end].arrival - start;
    if (options.max_bin_width) width = std::min(width, *options.max_bin_width);
    for (std::size_t i = bin_start; i < bin_end; ++i) {
      arrivals.push_back(start - origin + share_of(width, i - bin_start, bin_end - bin_start));
    }
    bin_start = bin_end;
  }
  return arrivals;
}

/// A prompt without a whole block, of a trace that has no ids for others, shares nothing: any replica will do.
std::uint32_t replica_of(const TraceRequest& request, std::size_t trace_idx, std::uint32_t num_replicas) {
  const std::uint64_t key =
      request.block_ids.empty() ? trace_idx : request.block_ids[request.block_ids.size() > 1 ? 1 : 0];
  return static_cast<std::uint32_t>(mix64(key) % num_replicas);
}

}  // namespace

Replay prepare_replay(const RequestTrace& trace, const ReplayOptions& options) {
  check_options(options);
  Replay replay;
  if (trace.empty()) return replay;
  const std::vector<Nanoseconds> arrivals = spread_arrivals(trace, options);
  for (std::size_t trace_idx = 0; trace_idx < trace.size(); ++trace_idx) {
    TraceRequest request = trace[trace_idx];
    const std::uint32_t replica_idx = replica_of(request, trace_idx, options.num_replicas);
    if (options.context_limit_tokens && request.input_tokens > *options.context_limit_tokens) {
      if (options.over_limit == OverLimit::drop) {
        ++replay.num_dropped;
        continue;
      }
      ++replay.num_truncated;
      request.input_tokens = *options.context_limit_tokens;
      request.block_ids = request.block_ids.first(trace.num_blocks(request.input_tokens));
    }
    request.arrival = scaled(arrivals[trace_idx], options.time_scale);
    replay.requests.push_back({.request = request, .trace_idx = trace_idx, .replica_idx = replica_idx});
  }
  return replay;
}

double scale_to_utilisation(std::span<ReplayRequest> requests, double target_utilisation, std::uint32_t num_replicas,
                            const std::function<double(const TraceRequest&)>& recompute_seconds_of) {
  if (!std::isfinite(target_utilisation) || target_utilisation <= 0) {
    throw ConfigError(fmt::format("target_utilisation: found {}; expected a positive number", target_utilisation));
  }
  if (num_replicas == 0) throw ConfigError("num_replicas: found 0; expected at least 1");
  if (requests.empty()) throw ConfigError("target_utilisation: the trace has no requests left to scale");
  double recompute_seconds = 0;
  for (const ReplayRequest& replayed : requests) {
    const double seconds = recompute_seconds_of(replayed.request);
    REPREFILL_CHECK(std::isfinite(seconds) && seconds >= 0, "request {} takes {} s to recompute", replayed.trace_idx,
                    seconds);
    recompute_seconds += seconds;
  }
  const Nanoseconds span = requests.back().request.arrival - requests.front().request.arrival;
  if (span.value <= 0 || recompute_seconds <= 0) {
    throw ConfigError(
        fmt::format("target_utilisation: found {} requests with {} s of work over {} s; expected both to be "
                    "positive, else no time scale gives a utilisation",
                    requests.size(), recompute_seconds, to_seconds(span)));
  }
  const double factor = recompute_seconds / (target_utilisation * to_seconds(span) * num_replicas);
  for (ReplayRequest& replayed : requests) replayed.request.arrival = scaled(replayed.request.arrival, factor);
  return factor;
}

}  // namespace reprefill::traces
