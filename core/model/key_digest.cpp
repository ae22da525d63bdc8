#include "core/model/key_digest.hpp"

namespace reprefill {

std::uint64_t key_digest_rows(KeyDigest digest, std::uint32_t chunk_tokens, std::uint64_t num_tokens) {
  if (!is_per_chunk(digest)) return num_tokens;
  REPREFILL_CHECK(chunk_tokens > 0, "a digest of chunks of no tokens");
  const std::uint64_t chunks = divide_rounding_up(num_tokens, std::uint64_t{chunk_tokens});
  return digest == KeyDigest::minmax ? 2 * chunks : chunks;
}

Bytes key_digest_bytes(const ModelGeometry& geometry, KeyDigest digest, std::uint32_t chunk_tokens,
                       std::uint64_t num_tokens) {
  const std::uint64_t rows = key_digest_rows(digest, chunk_tokens, num_tokens);
  if (digest != KeyDigest::int4) return rows * geometry.kv_tensor_bytes_per_token_layer();
  const auto dim = static_cast<std::uint64_t>(geometry.head_dim);
  const std::uint64_t codes = divide_rounding_up(dim, std::uint64_t{2});
  const std::uint64_t scales = divide_rounding_up(dim, std::uint64_t{kInt4GroupElements}) * kInt4ScaleBytes;
  return Bytes{rows * static_cast<std::uint64_t>(geometry.num_kv_heads) * (codes + scales)};
}

}  // namespace reprefill
