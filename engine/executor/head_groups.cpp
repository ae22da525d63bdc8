#include "engine/executor/head_groups.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace reprefill::engine {

std::vector<HeadGroup> head_groups(const ModelGeometry& geometry, const ScoreShape& shape) {
  const int group_size = geometry.group_size();
  std::vector<HeadGroup> groups;
  if (shape.grouping != traces::HeadGrouping::probe_heads) {
    for (int head = 0; head < geometry.num_kv_heads; ++head) {
      groups.push_back(
          {.first_head = head * group_size, .num_heads = group_size, .stored_head = head, .own_head = head});
    }
    return groups;
  }
  std::vector<int> probed;  // KV heads, ascending: their order in the pages
  for (const int head : shape.probe_heads) {
    REPREFILL_CHECK(head >= 0 && head < geometry.num_query_heads, "probe head {} of {}", head,
                    geometry.num_query_heads);
    probed.push_back(head / group_size);
  }
  std::ranges::sort(probed);
  probed.erase(std::ranges::unique(probed).begin(), probed.end());
  for (const int head : shape.probe_heads) {
    const int kv_head = head / group_size;
    const auto place = std::ranges::lower_bound(probed, kv_head) - probed.begin();
    groups.push_back({.first_head = head, .num_heads = 1, .stored_head = static_cast<int>(place), .own_head = kv_head});
  }
  return groups;
}

DigestShape digest_shape(const ModelGeometry& geometry, KvType type, const ScoreShape& shape) {
  REPREFILL_CHECK(shape.grouping != traces::HeadGrouping::probe_heads, "probed heads have no digests");
  return {.digest = shape.digest,
          .type = type,
          .num_kv_heads = geometry.num_kv_heads,
          .head_dim = geometry.head_dim,
          .chunk_tokens = shape.unit_tokens};
}

int num_key_heads(std::span<const HeadGroup> groups) {
  int count = 0;
  for (const HeadGroup& group : groups) count = std::max(count, group.stored_head + 1);
  return count;
}

}  // namespace reprefill::engine
