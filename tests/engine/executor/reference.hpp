// Attention and scoring as their definitions read: double precision, one loop after the other, nothing shared with the
// executor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/bfloat16.hpp"
#include "core/base/kv_view.hpp"
#include "core/base/random.hpp"

namespace reprefill::engine::test {

/// What the deliberately broken variants do; a tolerance that they pass tests nothing.
struct Fault {
  double scale_factor = 1;
  bool ignores_masks = false;
  bool sees_own_future = false;
};

/// A layer's stored prefix and own tokens as plain numbers: [tokens][num_kv_heads][head_dim].
struct PlainAttention {
  int num_query_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  std::size_t num_stored = 0;
  std::vector<double> stored_keys, stored_values;
  std::vector<std::uint8_t> keep_k, keep_v;  // empty or [num_kv_heads][num_stored]
  std::vector<double> own_keys, own_values;
  std::vector<double> queries;  // [own tokens][num_query_heads][head_dim]
  Fault fault;

  std::size_t num_own() const;
  /// Softmax weights of one query head of own token `query`: stored tokens, then own ones.
  std::vector<double> weights(std::size_t query, int query_head) const;
  /// [own tokens][num_query_heads][head_dim].
  std::vector<double> outputs() const;
  /// Weights of stored tokens, summed over own tokens, of one query head.
  std::vector<double> column_sums(int query_head) const;

 private:
  bool keeps(const std::vector<std::uint8_t>& mask, int kv_head, std::size_t token) const;
};

/// Bytes of the KV type, and the values that they hold.
struct Tensor {
  std::vector<std::byte> bytes;
  std::vector<double> values;
};
Tensor random_tensor(RandomStream& random, std::size_t count, KvType type);

}  // namespace reprefill::engine::test
