// The whole Qwen2 forward pass in double precision, written from its definition.
#pragma once

#include <span>
#include <vector>

#include "engine/checkpoint/checkpoint.hpp"
#include "tests/engine/executor/reference.hpp"

namespace reprefill::engine::test {

/// What a layer sees of a stored prefix: [tokens][num_kv_heads][head_dim], already of the KV type.
struct PlainPrefix {
  std::vector<double> keys, values;
  std::vector<std::uint8_t> keep_k, keep_v;
};

struct PlainForward {
  std::vector<std::vector<double>> logits;  // per own token
  std::vector<PlainAttention> layers;       // with queries, K and V as attention saw them
};

/// prefix is empty or holds one entry per layer. K and V are rounded to `kv_type` when produced.
PlainForward plain_forward(const Checkpoint& checkpoint, KvType kv_type, std::span<const std::int32_t> ids,
                           std::uint32_t first_position, std::span<const PlainPrefix> prefix, const Fault& fault = {});

}  // namespace reprefill::engine::test
