// From a view of host addresses and lengths to what kernels read: tables of pages in device memory.
#pragma once

#include <cstdint>
#include <span>

#include "core/base/kv_view.hpp"
#include "engine/gpu/gpu_memory.hpp"
#include "kernels/base/paged.hpp"

namespace reprefill::engine {

/// The most tokens, up to kMaxPageTokens, that pages of this view can be cut to so that only the last is not full:
/// kernels go through whole pages, and by a slower way where some have gaps. Scattered tokens come one to a page, which
/// costs a kernel nothing: it looks up every row's page anyway. Not for an empty view.
std::uint32_t full_page_tokens(std::span<const KvPage> pages);

/// Full pages, so slots are the view's tokens.
kernels::PagedKv upload_view(UploadRing& uploads, const KvView& view, int num_kv_heads, int head_dim);

/// Pages of `unit_tokens` each, which divides the length of every page of the view.
kernels::PagedKeys upload_keys(UploadRing& uploads, const KeyView& view, std::uint32_t unit_tokens, int head_dim);

}  // namespace reprefill::engine
