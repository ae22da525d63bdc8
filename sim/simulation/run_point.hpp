// Simulates one point: admits requests, runs their coroutines on the simulated machine, and makes the result row.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/record/span.hpp"
#include "sim/simulation/request_plan.hpp"
#include "sim/simulation/request_statistics.hpp"

namespace reprefill::sim {

struct RunOptions {
  std::uint64_t num_warmup = 0;
  bool stop_when_full = false;                                // of a fill run: ends when both tiers have been full
  std::optional<std::uint64_t> range_replica = std::nullopt;  // durations drawn from residuals: prediction_range.hpp
  bool keep_spans = false;                                    // every span of the measured requests, for a timeline
  bool keep_decisions = false;                                // every decision of the cache
  std::optional<std::uint64_t> only_request = {};  // of the measured ones: it is recorded and ends the run, no row
  const std::atomic<bool>* interrupted = nullptr;  // polled; throws Interrupted
  // Called now and then on the running thread: finished requests over all.
  std::function<void(double share)> on_progress = nullptr;
};

/// Everything about one request, for `explain`.
struct RecordedRequest {
  pipeline::Request request;
  MeasuredRequest times;
  std::vector<record::Span> spans;  // up to its first token
};

struct RunResult {
  Json row;  // results, without wall-clock figures
  std::vector<record::Span> spans;
  std::vector<cache::Move> decisions;
  std::size_t first_measured_decision = 0;  // those before warmed the caches
  std::optional<RecordedRequest> recorded;  // absent where the run has no such request
  std::uint64_t num_events = 0;
  std::uint64_t num_requests = 0;
  Nanoseconds virtual_time{0};
};

RunResult run_point(const Point& point, SharedInputs& inputs, const RunOptions& options);

struct RunMember {
  const Point* point = nullptr;
  RunOptions options;
};

/// Each as `run_point` has it, in the order of `members`, one request of each after the other: runs over the same
/// importance draw what they choose once (`SharedSelections`), and hold it for a request, not for a run.
std::vector<RunResult> run_together(std::span<const RunMember> members, SharedInputs& inputs);

/// Requests until both tiers are full, 2 x num_prefixes at most: the warm-up that this point asks for (semantics 7).
std::uint64_t warmup_needed(const Point& point, SharedInputs& inputs, const RunOptions& options);
/// The most that `warmup_needed` can answer for this point: 0 where no warm-up rule applies.
std::uint64_t warmup_limit(const Point& point);

/// Reads what the point needs (trace, importance) and refuses one whose one-layer working set exceeds workspace or
/// staging, with the numbers (design 4). Throws ConfigError.
void check_inputs(const Point& point, SharedInputs& inputs);

}  // namespace reprefill::sim
