// What attention reads of a stored prefix in one layer: plain data, shared by kernels and executors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace reprefill {

/// Element type of K and V in memory. fp32 exists for golden parity tests only (design 7).
enum class KvType : std::uint8_t { bf16, fp32 };

constexpr std::size_t bytes_per_element(KvType type) { return type == KvType::bf16 ? 2 : 4; }

/// Consecutive prefix tokens. keys and values: [num_tokens][num_kv_heads][head_dim], RoPE applied to keys at their
/// original positions. values may be null where keep_v keeps none of the page's tokens.
struct KvPage {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  std::uint32_t num_tokens = 0;
};

/// Pages in ascending order of position; the tokens in between are not attended to. Masks are empty (keep all) or
/// [num_kv_heads][num_tokens] of 0 and 1: keep_k 0 masks the logit; keep_k 1 with keep_v 0 leaves the token in the
/// softmax denominator and adds zero (semantics 2).
struct KvView {
  std::span<const KvPage> pages;
  std::uint32_t num_tokens = 0;  // sum over pages
  std::span<const std::uint8_t> keep_k = {};
  std::span<const std::uint8_t> keep_v = {};
};

/// Keys alone, for scoring: [num_tokens][num_heads][head_dim] a page. num_heads is the model's KV heads, or as many as
/// a probe-key slab holds.
struct KeyPage {
  const std::byte* keys = nullptr;
  std::uint32_t num_tokens = 0;
};
struct KeyView {
  std::span<const KeyPage> pages;
  std::uint32_t num_tokens = 0;
  int num_heads = 0;
};

}  // namespace reprefill
