// Stored keys and values in device memory, page by page: the device's form of KvView and KeyView
// (core/base/kv_view.hpp).
#pragma once

#include <cstdint>

#include "core/base/bfloat16.hpp"

namespace reprefill::kernels {

inline constexpr std::uint32_t kMaxPageTokens = 128;
/// Slots of one view; what divisions by multiplication are exact for.
inline constexpr std::uint32_t kMaxSlots = 1u << 24;

/// Tokens are addressed by slot = page * page_tokens + offset in the page. Slots past a page's tokens exist in the
/// numbering only: they are never read, and take no part.
struct PagedTokens {
  std::uint32_t page_tokens = 16;  // 1 to kMaxPageTokens: what a page can hold
  /// One past the last slot: (pages - 1) * page_tokens + tokens of the last page.
  std::uint32_t num_slots = 0;
  /// Read when the kernel runs, in place of num_slots, which it may not exceed (captured graphs). Device memory.
  const std::uint32_t* device_num_slots = nullptr;
  /// [pages], or null: every page but the last is full. Device memory.
  const std::uint32_t* tokens_per_page = nullptr;

  std::uint32_t num_pages() const { return (num_slots + page_tokens - 1) / page_tokens; }
};

/// Pages in ascending order of position; each [tokens][num_kv_heads][head_dim] bf16, aligned to 16 bytes. Pointers and
/// arrays of pointers are device memory (pages may be pinned host memory that the device can read).
struct PagedKv {
  PagedTokens tokens;
  const BFloat16* const* key_pages = nullptr;    // [pages]
  const BFloat16* const* value_pages = nullptr;  // [pages]; null where keep_v keeps none of the page's tokens
  /// Null (keep all), or [num_kv_heads][mask_stride] of 0 and 1 by slot. keep_k 0 masks the logit; keep_k 1 with keep_v
  /// 0 leaves the token in the softmax denominator and adds zero.
  const std::uint8_t* keep_k = nullptr;
  const std::uint8_t* keep_v = nullptr;
  std::uint32_t mask_stride = 0;  // at least num_slots where there is a mask
};

/// Keys alone, [tokens][num_heads][head_dim] a page: num_heads is the model's KV heads, or as many as a slab of probe
/// keys holds.
struct PagedKeys {
  PagedTokens tokens;
  const BFloat16* const* pages = nullptr;
  std::uint32_t num_heads = 0;
};

}  // namespace reprefill::kernels
