// Bytes of what stands for a layer's keys: made when a segment is stored, widened when chunks are scored.
//
//   mean     [chunks][KV heads][head_dim], in the type of K and V
//   minmax   [chunks][KV heads][smallest, largest][head_dim], in the type of K and V
//   int4     [tokens][KV heads] of: a bf16 scale for every 32 elements, then two elements a byte, the first in the low
//            half: element = (half - 8) * scale
#pragma once

#include <cstddef>
#include <span>

#include "core/base/kv_view.hpp"
#include "core/model/key_digest.hpp"

namespace reprefill::engine {

struct DigestShape {
  KeyDigest digest = KeyDigest::mean;
  KvType type = KvType::bf16;  // of K and V
  int num_kv_heads = 1;
  int head_dim = 1;
  std::uint32_t chunk_tokens = 1;  // of mean and minmax
};

/// As core/model counts them.
std::size_t digest_bytes(const DigestShape& shape, std::uint64_t num_tokens);
/// Keys of one token.
std::size_t token_bytes(const DigestShape& shape);

/// keys: [tokens][KV heads][head_dim] of one segment, from its first token on; out: digest_bytes of these tokens.
/// The mean is rounded to the type; smallest and largest are elements of the keys; an element of int4 is at most half a
/// scale from the key's, and a scale at most 1 + 2^-7 of a seventh of its group's largest magnitude.
void make_digest(const DigestShape& shape, std::span<const std::byte> keys, std::span<std::byte> out);

/// Rows of one KV head as fp32, transposed: out[d * stride + row]. Rows are chunks (mean), first smallest then, from
/// `head_dim` on in place of d, largest values of chunks (minmax), or tokens (int4).
void widen_digest(const DigestShape& shape, const std::byte* digest, std::uint64_t num_tokens, int kv_head, float* out,
                  std::size_t stride);

}  // namespace reprefill::engine
