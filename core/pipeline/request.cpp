#include "core/pipeline/request.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace reprefill::pipeline {

RequestAccount& RequestAccount::operator+=(const RequestAccount& other) {
  identification_needed += other.identification_needed;
  identification_read += other.identification_read;
  identification_requested += other.identification_requested;
  identification_host_hits += other.identification_host_hits;
  payload_needed += other.payload_needed;
  payload_read += other.payload_read;
  payload_requested += other.payload_requested;
  payload_host_hits += other.payload_host_hits;
  payload_gpu_hits += other.payload_gpu_hits;
  payload_useful += other.payload_useful;
  payload_useful_from_reads += other.payload_useful_from_reads;
  prefetch_read += other.prefetch_read;
  prefetch_used += other.prefetch_used;
  prefetch_dropped += other.prefetch_dropped;
  needed_from_ssd_after_leader += other.needed_from_ssd_after_leader;
  num_reads += other.num_reads;
  pieces_needed += other.pieces_needed;
  pieces_gpu_hits += other.pieces_gpu_hits;
  pieces_host_hits += other.pieces_host_hits;
  prefetch_pieces_declined += other.prefetch_pieces_declined;
  num_identifications += other.num_identifications;
  num_fallback_layers += other.num_fallback_layers;
  kv_tokens_in_pieces += other.kv_tokens_in_pieces;
  kv_tokens_kept += other.kv_tokens_kept;
  kv_tokens_stored += other.kv_tokens_stored;
  appended += other.appended;
  approximate_tokens_reused += other.approximate_tokens_reused;
  return *this;
}

void Request::compute_front(std::uint32_t tokens) {
  REPREFILL_CHECK(tokens <= stored_tokens && front_tokens == 0, "{} of {} stored tokens are to be computed", tokens,
                  stored_tokens);
  front_tokens = tokens;
  own_tokens += tokens;
}

void Request::shorten_prefix(std::uint32_t tokens) {
  REPREFILL_CHECK(tokens <= stored_tokens, "a stored prefix of {} tokens cannot become one of {}", stored_tokens,
                  tokens);
  own_tokens += stored_tokens - tokens;
  stored_tokens = tokens;
  std::size_t num_spans = 0;
  for (std::uint32_t left = tokens; left > 0; ++num_spans) {
    SegmentSpan& span = stored_prefix[num_spans];
    span.num_tokens = std::min(span.num_tokens, left);
    left -= span.num_tokens;
  }
  stored_prefix.resize(num_spans);
}

}  // namespace reprefill::pipeline
