// Queries that are multiplied with a tile of keys together: some own tokens, and of each the query heads that read the
// same keys.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/executor/cpu/attention.hpp"
#include "engine/executor/head_groups.hpp"

namespace reprefill::engine {

/// Tokens of a block: enough rows to pay for loading a tile, few enough to stay in the second-level cache.
inline std::uint32_t block_tokens(const HeadGroup& group) {
  return static_cast<std::uint32_t>(std::max(1, 128 / group.num_heads));
}

/// Rows of a block are ordered by token, then head.
class QueryBlock {
 public:
  /// Copies the queries, times `scale`.
  void load(const KeyTiles& keys, const Queries& queries, const HeadGroup& group, std::uint32_t block_idx, float scale);

  int num_rows() const { return num_rows_; }
  std::uint32_t first_query() const { return first_query_; }
  std::uint32_t num_queries() const { return num_queries_; }
  /// Keys that row `row` sees: all stored ones and own ones up to its own.
  std::uint32_t visible_keys(int row) const { return first_visible_ + static_cast<std::uint32_t>(row / num_heads_); }
  std::uint32_t visible_keys() const { return visible_keys(num_rows_ - 1); }

  /// Logits of a tile that begins at key `first`, from its transposed keys: -inf where a row does not see the key. Rows
  /// are kTileKeys apart and belong to this object.
  float* logits(const Kernels& kernels, const KeyTiles& keys, const HeadGroup& group, std::uint32_t first,
                const float* transposed_keys);

 private:
  int num_rows_ = 0;
  int num_heads_ = 1;
  std::uint32_t first_query_ = 0;
  std::uint32_t num_queries_ = 0;
  std::uint32_t first_visible_ = 0;
  std::size_t dim_ = 0;
  std::vector<float> queries_;
  std::vector<float> logits_;
};

}  // namespace reprefill::engine
