// Random keys and queries, and what plain code in double precision makes of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/bfloat16.hpp"
#include "core/base/random.hpp"
#include "engine/digest/key_digests.hpp"

namespace reprefill::engine::test {

/// [tokens][heads][dim] of either type; some dimensions are far from zero, as keys of real models have them.
struct Keys {
  Keys(const DigestShape& shape, std::size_t num_tokens, std::uint64_t seed) : shape(shape), count(num_tokens) {
    RandomStream random(seed, 0, "keys");
    const std::size_t width = static_cast<std::size_t>(shape.num_kv_heads) * static_cast<std::size_t>(shape.head_dim);
    for (std::size_t i = 0; i < num_tokens * width; ++i) {
      const double bias = i % width % 7 == 3 ? 6 : 0;
      auto value = static_cast<float>(random.normal(bias, 1));
      if (shape.type == KvType::bf16) value = BFloat16::round(value).widen();
      values.push_back(value);
    }
  }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out(values.size() * bytes_per_element(shape.type));
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (shape.type == KvType::fp32) {
        std::memcpy(out.data() + 4 * i, &values[i], 4);
      } else {
        const std::uint16_t bits = BFloat16::round(values[i]).bits;
        std::memcpy(out.data() + 2 * i, &bits, 2);
      }
    }
    return out;
  }
  float at(std::size_t token, int head, int d) const {
    return values[(token * static_cast<std::size_t>(shape.num_kv_heads) + static_cast<std::size_t>(head)) *
                      static_cast<std::size_t>(shape.head_dim) +
                  static_cast<std::size_t>(d)];
  }

  DigestShape shape;
  std::size_t count;
  std::vector<float> values;
};

inline std::vector<std::byte> digest_of(const Keys& keys) {
  std::vector<std::byte> out(digest_bytes(keys.shape, keys.count));
  make_digest(keys.shape, keys.bytes(), out);
  return out;
}

/// Shapes with one and several heads, dimensions that do and do not fill a group of int4, both types.
inline std::vector<DigestShape> shapes(KeyDigest digest) {
  std::vector<DigestShape> all;
  for (const KvType type : {KvType::bf16, KvType::fp32}) {
    for (const int dim : {8, 33, 64, 128}) {
      for (const std::uint32_t chunk : {1u, 8u, 16u}) {
        all.push_back({.digest = digest,
                       .type = type,
                       .num_kv_heads = dim == 64 ? 1 : 3,
                       .head_dim = dim,
                       .chunk_tokens = chunk});
      }
    }
  }
  return all;
}

}  // namespace reprefill::engine::test
