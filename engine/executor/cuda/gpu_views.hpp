// From a view of host addresses and lengths to what kernels read: tables of pages in device memory.
#pragma once

#include "core/base/kv_view.hpp"
#include "engine/gpu/gpu_memory.hpp"
#include "kernels/base/paged.hpp"

namespace reprefill::engine {

/// Pages of equal capacity: what the view's pages, cut to at most kMaxPageTokens, have in common. Masks are moved from
/// tokens to slots.
kernels::PagedKv upload_view(UploadRing& uploads, const KvView& view, int num_kv_heads, int head_dim);

/// Pages of `unit_tokens` each, which divides the length of every page of the view.
kernels::PagedKeys upload_keys(UploadRing& uploads, const KeyView& view, std::uint32_t unit_tokens, int head_dim);

}  // namespace reprefill::engine
