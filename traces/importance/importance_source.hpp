// Which stored tokens matter to a request: the one view of importance that selection, caches and studies share,
// whether it was generated or recorded (semantics 8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/model/key_digest.hpp"
#include "core/model/piece.hpp"

namespace reprefill::traces {

/// How scores are grouped over attention heads.
enum class HeadGrouping : std::uint8_t {
  all_heads,    // one group: summed over all KV heads
  per_kv_head,  // one group per KV head
  probe_heads   // one group per probed query head
};

/// Whose importance is asked for. Equal queries get equal scores, bit for bit, in any order and from any thread.
struct ImportanceQuery {
  std::uint64_t request = 0;            // number of the request within its replica: keys the per-request part
  std::uint64_t task = 0;               // requests on the same prefix share a task, and with it a hot set
  std::span<const SegmentSpan> prefix;  // the stored prefix, root first
  int layer_idx = 0;
  HeadGrouping grouping = HeadGrouping::all_heads;
  KeyDigest digest = KeyDigest::none;  // scores as a scorer sees them that has this instead of keys
};

/// Units of `unit_tokens` tokens in a prefix. Units restart at each segment's first token; the last unit of a segment
/// may be partial, an empty segment has none.
std::size_t num_units(std::span<const SegmentSpan> prefix, int unit_tokens);

std::uint64_t total_tokens(std::span<const SegmentSpan> prefix);

/// Const and thread-safe: several simulations share one source.
class ImportanceSource {
 public:
  virtual ~ImportanceSource() = default;

  virtual int num_groups(HeadGrouping grouping) const = 0;

  /// Attention mass summed over runs of `unit_tokens` tokens, the same token masses at every unit size (up to float
  /// rounding). out: [num_groups][num_units(prefix, unit_tokens)], non-negative and finite.
  /// Throws ConfigError where the source lacks what is asked: channel, request, layer, or so fine a granularity.
  virtual void unit_scores(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const = 0;

  virtual bool has_channel(HeadGrouping grouping) const = 0;

  /// Unit sizes must be a multiple of this many tokens; 1 where single tokens have scores of their own.
  virtual int granularity_tokens(HeadGrouping grouping) const = 0;
};

}  // namespace reprefill::traces
