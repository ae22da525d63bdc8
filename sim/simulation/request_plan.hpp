// The requests of a run, in order of arrival: from a pool of prefixes or from a trace (semantics 7).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/cache/segment_tree.hpp"
#include "core/pipeline/request.hpp"
#include "sim/scenario/scenario.hpp"
#include "traces/workload/request_trace.hpp"

namespace reprefill::sim {

/// One request before anything is known of caches.
struct PlannedRequest {
  Nanoseconds arrival{0};  // open arrivals only
  std::uint32_t prompt_tokens = 0;
  std::uint32_t output_tokens = 0;
  std::uint32_t prefix = 0;                  // pool: which one
  std::span<const std::uint64_t> block_ids;  // trace
};

/// What the stored prefixes are and which requests come. Stateful for traces: appends make segments.
class RequestPlan {
 public:
  virtual ~RequestPlan() = default;
  virtual std::uint64_t num_requests() const = 0;
  virtual PlannedRequest planned(std::uint64_t index) const = 0;
  /// Resolves a request at its admission: its stored prefix as of now, and what it will append.
  /// `system_prunes`: what the request computes and appends is approximate where it has a stored prefix.
  virtual void resolve(std::uint64_t index, pipeline::Request& request, bool system_prunes) = 0;
  /// The stored prefix of a request that still waits, as of now; appends nothing.
  virtual void preview(std::uint64_t index, pipeline::Request& request) const = 0;
  virtual std::uint32_t segment_tokens(SegmentId segment) const = 0;
  /// The request is served: its segments may leave the store. Called once for each that was resolved.
  virtual void finished(std::uint64_t /*index*/) {}
  /// Segments that a full store let go of, and new ones that it had no room for.
  virtual std::uint64_t num_segments_removed() const { return 0; }
  virtual std::uint64_t num_segments_not_stored() const { return 0; }
  /// Bytes of all stored prefixes that the run may touch, K and V, one copy.
  virtual Bytes working_set() const = 0;
  virtual std::uint64_t num_prefixes() const = 0;
  /// Requests arrive by themselves, not when the one before is done.
  virtual bool open_arrivals() const = 0;
  virtual std::uint64_t num_dropped() const { return 0; }
  virtual std::uint64_t num_truncated() const { return 0; }
  virtual std::optional<double> time_factor() const { return std::nullopt; }
};

/// The tokens of a request after the first occupy the GPU.
bool decodes(const Point& point);

/// Traces are read once and shared by all points; importance sources too.
class SharedInputs {
 public:
  explicit SharedInputs(const ScenarioContext& context) : context_(context) {}
  /// The trace that a point replays. One whose blocks are smaller than the store's comes in blocks of the store's.
  std::shared_ptr<const traces::RequestTrace> trace(const Point& point);
  std::shared_ptr<const traces::ImportanceSource> importance(const Point& point);
  /// Digest of the files that a point reads, so that a resumed sweep notices changed ones. "" without files.
  std::string trace_digest(const Point& point);

 private:
  std::filesystem::path find_trace(const std::string& file, const std::string& origin) const;
  const ScenarioContext& context_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const traces::RequestTrace>> traces_;
  std::map<std::string, std::shared_ptr<const traces::ImportanceSource>> importance_;
};

/// `num_warmup` requests come before the measured ones (pools only). `recompute_time` gives the compute of a prompt.
std::unique_ptr<RequestPlan> make_request_plan(const Point& point, std::uint64_t num_warmup, SharedInputs& inputs,
                                               const std::function<Nanoseconds(std::uint32_t)>& recompute_time);

/// Prefixes of a pool after the default rule: as many as make 20 times the GPU tier [A13].
std::uint64_t pool_size(const Point& point);
std::uint32_t stored_tokens_of(std::uint32_t prefix_tokens, std::uint32_t store_block_tokens);

}  // namespace reprefill::sim
