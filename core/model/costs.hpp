// FLOPs and bytes of each operation of a layer. A multiply and an add are two FLOPs, and only those of matrix products
// count: element-wise work (norms, RoPE, softmax, SwiGLU) is bound by its bytes. Bytes are those that must cross device
// memory once: weights, inputs, outputs.
#pragma once

#include "core/model/geometry.hpp"

namespace reprefill {

struct OperationCost {
  double flops = 0;
  Bytes bytes_moved;
};

class OperationCosts {
 public:
  explicit OperationCosts(const ModelGeometry& geometry) : g_(geometry) {}

  /// Norm, QKV with bias, RoPE and the append of own K and V, for `queries` own tokens.
  OperationCost project(std::uint64_t queries) const;
  /// Output projection, norm and the MLP, gated or not.
  OperationCost attend_linear(std::uint64_t queries) const;
  /// `queries` own tokens, of which `own_before` came before this block, over kept prefix tokens and causally
  /// themselves.
  OperationCost attend_attention(std::uint64_t queries, std::uint64_t own_before, std::uint64_t k_tokens,
                                 std::uint64_t v_tokens) const;
  /// The scoring pass (design 8, score_chunks) of the given query heads on the KV heads that they read: first the
  /// denominators of the softmax over prefix and causal own keys, then again the logits of the prefix for its column
  /// sums, one fp32 score per prefix token and KV head. No score matrix in memory.
  OperationCost score(std::uint64_t queries, std::uint64_t prefix_tokens, int query_heads, int kv_heads) const;
  /// Choosing `chosen` of `candidates` fp32 scores by radix: four passes of 8 bits and one that compacts, no products.
  OperationCost select(std::uint64_t candidates, std::uint64_t chosen) const;
  /// Pieces from pinned host memory into GPU pages: each byte crosses the link, and is written, once.
  OperationCost gather(Bytes pieces) const;
  /// Final norm, logits of one token, argmax.
  OperationCost first_token() const;

 private:
  ModelGeometry g_;
};

}  // namespace reprefill
