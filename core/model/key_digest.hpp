// What may stand for a layer's keys when chunks are scored (semantics 2, "Scorers"): fewer bytes, less exact scores.
#pragma once

#include "core/base/params.hpp"
#include "core/model/geometry.hpp"

namespace reprefill {

enum class KeyDigest : std::uint8_t {
  none,    // the keys themselves
  mean,    // per chunk and KV head the mean key
  minmax,  // per chunk and KV head the smallest and the largest value of every dimension
  int4     // every key in 4 bits an element, with scales
};

/// Neighbouring elements of a key that share one scale of `int4`.
inline constexpr std::uint32_t kInt4GroupElements = 32;
inline constexpr std::uint32_t kInt4ScaleBytes = 2;  // bf16, whatever the type of K and V

/// Of `num_tokens` leading tokens in one layer, all KV heads; a partly filled last chunk has a digest of its own.
/// `mean` and `minmax` are stored in the type of K and V. `chunk_tokens` is of these two only.
Bytes key_digest_bytes(const ModelGeometry& geometry, KeyDigest digest, std::uint32_t chunk_tokens,
                       std::uint64_t num_tokens);

/// Rows that a query is multiplied with: chunks (twice for `minmax`), or tokens.
std::uint64_t key_digest_rows(KeyDigest digest, std::uint32_t chunk_tokens, std::uint64_t num_tokens);

/// Whether a digest sums up chunks, so that its size depends on theirs.
constexpr bool is_per_chunk(KeyDigest digest) { return digest == KeyDigest::mean || digest == KeyDigest::minmax; }

}  // namespace reprefill

template <>
struct reprefill::EnumNames<reprefill::KeyDigest> {
  static constexpr std::pair<const char*, KeyDigest> names[] = {{"keys", KeyDigest::none},
                                                                {"digest:mean", KeyDigest::mean},
                                                                {"digest:minmax", KeyDigest::minmax},
                                                                {"int4_keys", KeyDigest::int4}};
};
