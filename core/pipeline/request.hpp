// One request as a system sees it, and the account that the system keeps of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/units.hpp"
#include "core/model/piece.hpp"

namespace reprefill::pipeline {

/// Bytes and counts of one request (semantics 5). "Needed" is what the selection asked for, wherever it was found;
/// "read" came from the SSD; "requested" is a read after alignment, merging and splitting.
struct RequestAccount {
  Bytes identification_needed;
  Bytes identification_read;
  Bytes identification_requested;
  Bytes identification_host_hits;

  Bytes payload_needed;
  Bytes payload_read;  // prefetched bytes included, wasted ones too
  Bytes payload_requested;
  Bytes payload_host_hits;
  Bytes payload_gpu_hits;
  Bytes payload_useful;             // consumed by attention
  Bytes payload_useful_from_reads;  // of those, the ones that came from the SSD

  Bytes prefetch_read;  // inter-period prefetch
  Bytes prefetch_used;
  Bytes prefetch_dropped;              // issued, and taken back before the device saw it: not read
  Bytes needed_from_ssd_after_leader;  // the base of prefetch recall: first subperiods of periods after the first

  std::uint64_t num_reads = 0;  // requests to the device
  std::uint64_t pieces_needed = 0;
  std::uint64_t pieces_gpu_hits = 0;
  std::uint64_t pieces_host_hits = 0;
  std::uint64_t prefetch_pieces_declined = 0;  // did not fit the quota: become demand reads
  std::uint64_t num_identifications = 0;
  std::uint64_t num_fallback_layers = 0;
  // K and V tokens, each counted once per layer: of the pieces needed, and of what attention kept of them.
  std::uint64_t kv_tokens_in_pieces = 0;
  std::uint64_t kv_tokens_kept = 0;
  std::uint64_t kv_tokens_stored = 0;

  Bytes appended;
  // Of the stored prefix: tokens whose KV was computed over a pruned one, or over such tokens (semantics 1).
  std::uint64_t approximate_tokens_reused = 0;

  RequestAccount& operator+=(const RequestAccount& other);
  bool operator==(const RequestAccount&) const = default;
};

/// A new segment that this request stores.
struct AppendPlan {
  SegmentId segment;
  std::uint32_t num_tokens = 0;
  /// KV is computed again by a full prefill of so many tokens, after the first token, and that is what is stored; 0: KV
  /// is stored as the request computed it.
  std::uint32_t recompute_tokens = 0;
};

struct Request {
  std::uint32_t id = 0;             // its number within the run: names it in spans
  std::uint64_t importance_id = 0;  // keys its own part of the importance
  std::uint64_t task = 0;           // keys the hot set that it shares with others
  std::vector<SegmentSpan> stored_prefix;
  std::uint32_t stored_tokens = 0;     // n: sum over stored_prefix
  std::uint32_t own_tokens = 0;        // computed: the rest of the prefix that is not stored, and the suffix
  std::uint32_t front_tokens = 0;      // leading stored tokens that are computed all the same: the first own tokens
  std::uint32_t prompt_tokens = 0;     // stored + own - front
  std::uint32_t hit_trace_tokens = 0;  // stored tokens that the look-up found, in whole blocks of the trace
  std::optional<AppendPlan> append;
  RequestAccount account;

  /// Only the leading `tokens` of the stored prefix are used; the rest is computed.
  void shorten_prefix(std::uint32_t tokens);
  /// The leading `tokens` of the stored prefix are computed, not loaded.
  void compute_front(std::uint32_t tokens);
};

}  // namespace reprefill::pipeline
