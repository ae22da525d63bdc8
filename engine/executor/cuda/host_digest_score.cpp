#include "engine/executor/cuda/host_digest_score.hpp"

#include <algorithm>

namespace reprefill::engine {

void HostDigestScore::score(const DeviceRows& own, const KeyView& digests, const ScoreShape& shape, float scale,
                            cudaStream_t stream, std::span<float> out) {
  const DigestShape digest = digest_shape(geometry_, KvType::bf16, shape);
  const auto num_heads = static_cast<std::size_t>(geometry_.num_kv_heads);
  const auto num_chunks = std::size_t{digests.num_tokens / shape.unit_tokens};
  const bool sums = shape.grouping == traces::HeadGrouping::all_heads;
  REPREFILL_CHECK(out.size() == (sums ? 1 : num_heads) * num_chunks, "{} places for scores of {} chunks", out.size(),
                  num_chunks);
  if (!pool_) pool_.emplace(0);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<KeyPage> pages;
  for (const KeyPage& page : digests.pages) {
    bytes.emplace_back(digest_bytes(digest, page.num_tokens));
    gpu_.copy(bytes.back().data(), page.keys, Bytes{bytes.back().size()}, stream);
    pages.push_back({.keys = bytes.back().data(), .num_tokens = page.num_tokens});
  }
  const auto row = [&](int heads) {
    return std::size_t{own.count} * static_cast<std::size_t>(heads * geometry_.head_dim);
  };
  const std::vector<float> queries = widen(own.queries, row(geometry_.num_query_heads), stream);
  const OwnRows rows{.queries = queries.data(),
                     .keys = widen(own.keys, row(geometry_.num_kv_heads), stream),
                     .count = own.count,
                     .num_query_heads = geometry_.num_query_heads};
  std::vector<double> masses(num_heads * num_chunks);
  score_digests(*pool_, digest, {.pages = pages, .num_tokens = digests.num_tokens, .num_heads = digests.num_heads},
                rows, scale, masses);
  for (std::size_t i = 0; i < out.size(); ++i) {
    double sum = masses[i];
    for (std::size_t head = 1; sums && head < num_heads; ++head) sum += masses[head * num_chunks + i];
    out[i] = static_cast<float>(sum);
  }
}

/// Also waits for every copy before it.
std::vector<float> HostDigestScore::widen(const BFloat16* from, std::size_t count, cudaStream_t stream) {
  std::vector<BFloat16> narrow(count);
  gpu_.copy(narrow.data(), from, Bytes{count * sizeof(BFloat16)}, stream);
  gpu_.synchronize(stream);
  std::vector<float> wide(count);
  std::ranges::transform(narrow, wide.begin(), [](BFloat16 value) { return value.widen(); });
  return wide;
}

}  // namespace reprefill::engine
