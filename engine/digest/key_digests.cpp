#include "engine/digest/key_digests.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/bfloat16.hpp"

namespace reprefill::engine {
namespace {

constexpr float kInt4Largest = 7;  // of the codes -7 to 7: -8 is not used, so that signs are alike

float load(KvType type, const std::byte* from) {
  if (type == KvType::fp32) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  BFloat16 value;
  std::memcpy(&value.bits, from, sizeof value.bits);
  return value.widen();
}

void store(KvType type, float value, std::byte* to) {
  if (type == KvType::fp32) {
    std::memcpy(to, &value, sizeof value);
  } else {
    const std::uint16_t bits = BFloat16::round(value).bits;
    std::memcpy(to, &bits, sizeof bits);
  }
}

/// The smallest bf16 that is not below a finite `value` >= 0.
BFloat16 round_up(float value) {
  BFloat16 rounded = BFloat16::round(value);
  if (rounded.widen() < value) ++rounded.bits;
  return rounded;
}

/// Sizes as indices.
struct Sizes {
  explicit Sizes(const DigestShape& shape)
      : dim(static_cast<std::size_t>(shape.head_dim)),
        heads(static_cast<std::size_t>(shape.num_kv_heads)),
        element(bytes_per_element(shape.type)),
        scales(divide_rounding_up<std::size_t>(dim, kInt4GroupElements)),
        int4_head(scales * kInt4ScaleBytes + divide_rounding_up<std::size_t>(dim, 2)) {}
  std::size_t dim, heads, element;
  std::size_t scales;     // of one int4 key of one head
  std::size_t int4_head;  // bytes of it
};

/// `heads * dim` neighbouring elements of every token of a chunk.
void digest_chunk(const DigestShape& shape, const std::byte* keys, std::size_t num_tokens, std::byte* out) {
  const Sizes size(shape);
  const std::size_t width = size.heads * size.dim;
  for (std::size_t i = 0; i < width; ++i) {
    float low = load(shape.type, keys + i * size.element), high = low;
    double sum = 0;
    for (std::size_t token = 0; token < num_tokens; ++token) {
      const float value = load(shape.type, keys + (token * width + i) * size.element);
      low = std::min(low, value);
      high = std::max(high, value);
      sum += static_cast<double>(value);
    }
    if (shape.digest == KeyDigest::mean) {
      store(shape.type, static_cast<float>(sum / static_cast<double>(num_tokens)), out + i * size.element);
      continue;
    }
    const std::size_t at = i / size.dim * 2 * size.dim + i % size.dim;
    store(shape.type, low, out + at * size.element);
    store(shape.type, high, out + (at + size.dim) * size.element);
  }
}

/// One key of one head.
void quantise(const DigestShape& shape, const std::byte* key, std::byte* out) {
  const Sizes size(shape);
  std::byte* codes = out + size.scales * kInt4ScaleBytes;
  std::fill(codes, out + size.int4_head, std::byte{0});
  for (std::size_t group = 0; group < size.scales; ++group) {
    const std::size_t first = group * kInt4GroupElements;
    const std::size_t end = std::min<std::size_t>(size.dim, first + kInt4GroupElements);
    float largest = 0;
    for (std::size_t i = first; i < end; ++i) {
      largest = std::max(largest, std::abs(load(shape.type, key + i * size.element)));
    }
    const BFloat16 scale = round_up(largest / kInt4Largest);
    std::memcpy(out + group * kInt4ScaleBytes, &scale.bits, sizeof scale.bits);
    for (std::size_t i = first; i < end; ++i) {
      const float value = load(shape.type, key + i * size.element);
      const float steps = scale.widen() > 0 ? std::nearbyint(value / scale.widen()) : 0.0f;
      const auto code = static_cast<unsigned>(static_cast<int>(std::clamp(steps, -kInt4Largest, kInt4Largest)) + 8);
      codes[i / 2] |= static_cast<std::byte>(code << (i % 2 * 4));
    }
  }
}

void widen_int4(const DigestShape& shape, const std::byte* from, float* out, std::size_t stride) {
  const Sizes size(shape);
  const std::byte* codes = from + size.scales * kInt4ScaleBytes;
  for (std::size_t i = 0; i < size.dim; ++i) {
    BFloat16 scale;
    std::memcpy(&scale.bits, from + i / kInt4GroupElements * kInt4ScaleBytes, sizeof scale.bits);
    const int code = static_cast<int>(std::to_integer<unsigned>(codes[i / 2]) >> (i % 2 * 4) & 15u);
    out[i * stride] = static_cast<float>(code - 8) * scale.widen();
  }
}

}  // namespace

std::size_t token_bytes(const DigestShape& shape) {
  const Sizes size(shape);
  return size.heads * size.dim * size.element;
}

std::size_t digest_bytes(const DigestShape& shape, std::uint64_t num_tokens) {
  ModelGeometry geometry;
  geometry.num_kv_heads = shape.num_kv_heads;
  geometry.head_dim = shape.head_dim;
  geometry.kv_element_bytes = static_cast<int>(bytes_per_element(shape.type));
  return key_digest_bytes(geometry, shape.digest, shape.chunk_tokens, num_tokens).value;
}

void make_digest(const DigestShape& shape, std::span<const std::byte> keys, std::span<std::byte> out) {
  const std::size_t token = token_bytes(shape);
  const std::size_t num_tokens = keys.size() / token;
  REPREFILL_CHECK(shape.digest != KeyDigest::none, "full keys are no digest");
  REPREFILL_CHECK(num_tokens * token == keys.size() && out.size() == digest_bytes(shape, num_tokens),
                  "{} bytes of keys of {} a token, {} for their digest", keys.size(), token, out.size());
  if (shape.digest == KeyDigest::int4) {
    const Sizes size(shape);
    for (std::size_t i = 0; i < num_tokens * size.heads; ++i) {
      quantise(shape, keys.data() + i * size.dim * size.element, out.data() + i * size.int4_head);
    }
    return;
  }
  const std::size_t row = shape.digest == KeyDigest::minmax ? 2 * token : token;
  for (std::size_t first = 0; first < num_tokens; first += shape.chunk_tokens) {
    digest_chunk(shape, keys.data() + first * token, std::min<std::size_t>(shape.chunk_tokens, num_tokens - first),
                 out.data() + first / shape.chunk_tokens * row);
  }
}

void widen_digest(const DigestShape& shape, const std::byte* digest, std::uint64_t num_tokens, int kv_head, float* out,
                  std::size_t stride) {
  const Sizes size(shape);
  const auto head = static_cast<std::size_t>(kv_head);
  if (shape.digest == KeyDigest::int4) {
    for (std::size_t token = 0; token < num_tokens; ++token) {
      widen_int4(shape, digest + (token * size.heads + head) * size.int4_head, out + token, stride);
    }
    return;
  }
  const std::size_t width = shape.digest == KeyDigest::minmax ? 2 * size.dim : size.dim;
  const std::size_t num_chunks = divide_rounding_up<std::size_t>(num_tokens, shape.chunk_tokens);
  for (std::size_t chunk = 0; chunk < num_chunks; ++chunk) {
    const std::byte* from = digest + (chunk * size.heads + head) * width * size.element;
    for (std::size_t i = 0; i < width; ++i) out[i * stride + chunk] = load(shape.type, from + i * size.element);
  }
}

}  // namespace reprefill::engine
