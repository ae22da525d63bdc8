// A random layer for the executor and, in the same numbers, for the reference.
#pragma once

#include <string>
#include <vector>

#include "engine/executor/cpu/attention.hpp"
#include "tests/engine/executor/reference.hpp"

namespace reprefill::engine::test {

struct LayerShape {
  int num_query_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 64;
  std::vector<std::uint32_t> page_tokens;
  std::uint32_t num_own = 1;
  KvType type = KvType::bf16;
};

inline std::string describe(const LayerShape& shape) {
  std::uint32_t stored = 0;
  for (const std::uint32_t tokens : shape.page_tokens) stored += tokens;
  return std::to_string(shape.num_query_heads) + " over " + std::to_string(shape.num_kv_heads) + " heads of " +
         std::to_string(shape.head_dim) + ", " + std::to_string(stored) + " stored, " + std::to_string(shape.num_own) +
         " own";
}

class RandomLayer {
 public:
  explicit RandomLayer(const LayerShape& shape, std::uint64_t seed = 1) : shape_(shape) {
    RandomStream random(seed, 0, "layer");
    const std::size_t token = static_cast<std::size_t>(shape.num_kv_heads) * static_cast<std::size_t>(shape.head_dim);
    for (const std::uint32_t tokens : shape.page_tokens) num_stored_ += tokens;
    stored_keys_ = random_tensor(random, num_stored_ * token, shape.type);
    stored_values_ = random_tensor(random, num_stored_ * token, shape.type);
    own_keys_ = random_tensor(random, shape.num_own * token, shape.type);
    own_values_ = random_tensor(random, shape.num_own * token, shape.type);
    const std::size_t num_queries = shape.num_own * static_cast<std::size_t>(shape.num_query_heads * shape.head_dim);
    for (std::size_t i = 0; i < num_queries; ++i) queries_.push_back(static_cast<float>(random.normal(0, 1.5)));
    const std::size_t token_bytes = token * bytes_per_element(shape.type);
    std::size_t at = 0;
    for (const std::uint32_t tokens : shape.page_tokens) {
      pages_.push_back({stored_keys_.bytes.data() + at, stored_values_.bytes.data() + at, tokens});
      key_pages_.push_back({stored_keys_.bytes.data() + at, tokens});
      at += tokens * token_bytes;
    }
  }

  void mask_at_random(double keep_fraction, std::uint64_t seed = 2) {
    RandomStream random(seed, 0, "mask");
    const std::size_t count = num_stored_ * static_cast<std::size_t>(shape_.num_kv_heads);
    for (std::size_t i = 0; i < count; ++i) {
      keep_k_.push_back(random.uniform() < keep_fraction);
      keep_v_.push_back(random.uniform() < keep_fraction);
    }
  }

  KeyTiles::Shape shape() const { return {shape_.type, shape_.num_kv_heads, shape_.head_dim}; }
  KvView view() const { return {.pages = pages_, .num_tokens = num_stored_, .keep_k = keep_k_, .keep_v = keep_v_}; }
  KeyView key_view() const {
    return {.pages = key_pages_, .num_tokens = num_stored_, .num_heads = shape_.num_kv_heads};
  }
  OwnKv own() const { return {own_keys_.bytes.data(), own_values_.bytes.data(), shape_.num_own}; }
  Queries queries() const {
    return {
        .data = queries_.data(), .first_token = 0, .count = shape_.num_own, .num_query_heads = shape_.num_query_heads};
  }
  float scale() const { return static_cast<float>(1 / std::sqrt(static_cast<double>(shape_.head_dim))); }
  std::size_t row_size() const { return static_cast<std::size_t>(shape_.num_query_heads * shape_.head_dim); }

  PlainAttention plain() const {
    return {.num_query_heads = shape_.num_query_heads,
            .num_kv_heads = shape_.num_kv_heads,
            .head_dim = shape_.head_dim,
            .num_stored = num_stored_,
            .stored_keys = stored_keys_.values,
            .stored_values = stored_values_.values,
            .keep_k = keep_k_,
            .keep_v = keep_v_,
            .own_keys = own_keys_.values,
            .own_values = own_values_.values,
            .queries = std::vector<double>(queries_.begin(), queries_.end()),
            .fault = {}};
  }

  std::vector<float> attend(WorkerPool& pool, const Kernels& kernels) const {
    const KeyTiles tiles(shape(), view(), own());
    std::vector<float> out(queries_.size());
    engine::attend(pool, kernels, tiles, queries(), scale(), out.data(), row_size());
    return out;
  }

  std::vector<KvPage>& pages() { return pages_; }
  std::vector<std::uint8_t>& keep_k() { return keep_k_; }
  std::vector<std::uint8_t>& keep_v() { return keep_v_; }
  std::vector<float>& query_values() { return queries_; }
  Tensor& own_keys() { return own_keys_; }
  Tensor& own_values() { return own_values_; }
  Tensor& stored_keys() { return stored_keys_; }
  Tensor& stored_values() { return stored_values_; }
  std::uint32_t num_stored() const { return num_stored_; }

 private:
  LayerShape shape_;
  std::uint32_t num_stored_ = 0;
  Tensor stored_keys_, stored_values_, own_keys_, own_values_;
  std::vector<float> queries_;
  std::vector<KvPage> pages_;
  std::vector<KeyPage> key_pages_;
  std::vector<std::uint8_t> keep_k_, keep_v_;
};

}  // namespace reprefill::engine::test
