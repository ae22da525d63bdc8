#include "engine/executor/cpu/query_block.hpp"

#include <limits>

namespace reprefill::engine {

void QueryBlock::load(const KeyTiles& keys, const Queries& queries, const HeadGroup& group, std::uint32_t block_idx,
                      float scale) {
  const std::uint32_t tokens = block_tokens(group);
  num_heads_ = group.num_heads;
  first_query_ = block_idx * tokens;
  num_queries_ = std::min(tokens, queries.count - first_query_);
  num_rows_ = static_cast<int>(num_queries_) * group.num_heads;
  first_visible_ = keys.num_stored() + queries.first_token + first_query_ + 1;
  dim_ = static_cast<std::size_t>(keys.shape().head_dim);
  queries_.resize(static_cast<std::size_t>(num_rows_) * dim_);
  logits_.resize(static_cast<std::size_t>(num_rows_) * kTileKeys);
  const std::size_t token_size = static_cast<std::size_t>(queries.num_query_heads) * dim_;
  const std::size_t row_size = static_cast<std::size_t>(group.num_heads) * dim_;
  for (std::size_t i = 0; i < num_queries_; ++i) {
    const float* from =
        queries.data + (first_query_ + i) * token_size + static_cast<std::size_t>(group.first_head) * dim_;
    std::ranges::transform(from, from + row_size, queries_.data() + i * row_size, [=](float x) { return x * scale; });
  }
}

float* QueryBlock::logits(const Kernels& kernels, const KeyTiles& keys, const HeadGroup& group, std::uint32_t first,
                          const float* transposed_keys) {
  kernels.multiply(queries_.data(), dim_, num_rows_, transposed_keys, kTileKeys, static_cast<int>(dim_), logits_.data(),
                   kTileKeys, kTileKeys, false);
  for (int row = 0; row < num_rows_; ++row) {
    float* logits = logits_.data() + static_cast<std::size_t>(row) * kTileKeys;
    const std::uint32_t visible = std::max(visible_keys(row), first) - first;
    if (visible < kTileKeys) std::fill(logits + visible, logits + kTileKeys, -std::numeric_limits<float>::infinity());
    keys.mask_logits(first, group.stored_head, logits);
  }
  return logits_.data();
}

}  // namespace reprefill::engine
