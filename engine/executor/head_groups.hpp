// Which query heads' attention mass a scorer sums, and over how many tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/geometry.hpp"
#include "core/model/key_digest.hpp"
#include "engine/digest/key_digests.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::engine {

/// How attention mass is summed: [groups][num_tokens / unit_tokens].
struct ScoreShape {
  traces::HeadGrouping grouping = traces::HeadGrouping::all_heads;
  std::span<const int> probe_heads = {};  // query heads, of HeadGrouping::probe_heads
  std::uint32_t unit_tokens = 1;          // consecutive prefix tokens; divides every page's number of them
  KeyDigest digest = KeyDigest::none;     // pages hold this of chunks of `unit_tokens`; not with probe_heads
};

/// Of a scorer that reads digests. KV heads only: query heads that are probed read keys.
DigestShape digest_shape(const ModelGeometry& geometry, KvType type, const ScoreShape& shape);

/// Query heads [first_head, first_head + num_heads) that read one KV head.
struct HeadGroup {
  int first_head = 0;
  int num_heads = 1;
  int stored_head = 0;  // place of the KV head in the scored keys
  int own_head = 0;     // and among the model's KV heads
};

/// Groups whose columns are summed apart: one per KV head, or one per probed head, whose keys hold the KV heads that
/// they read in ascending order. The single score of `all_heads` is the sum of its groups.
std::vector<HeadGroup> head_groups(const ModelGeometry& geometry, const ScoreShape& shape);

/// Heads that the scored keys must have.
int num_key_heads(std::span<const HeadGroup> groups);

}  // namespace reprefill::engine
