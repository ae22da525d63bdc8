#include "engine/executor/cuda/gpu_views.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

struct Page {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  std::uint32_t num_tokens = 0;
};

/// Cuts what is longer than `most` tokens.
template <typename ViewPage>
std::vector<Page> cut_pages(std::span<const ViewPage> pages, std::uint32_t most, std::size_t token_bytes) {
  std::vector<Page> cut;
  for (const ViewPage& page : pages) {
    for (std::uint32_t first = 0; first < page.num_tokens; first += most) {
      Page& part = cut.emplace_back();
      part.num_tokens = std::min(most, page.num_tokens - first);
      part.keys = page.keys + first * token_bytes;
      if constexpr (requires { page.values; }) {
        part.values = page.values == nullptr ? nullptr : page.values + first * token_bytes;
      }
    }
  }
  return cut;
}

/// Arrays of one upload, each at a multiple of 16 bytes.
class TableLayout {
 public:
  std::size_t add(std::size_t bytes) {
    const std::size_t offset = size_;
    size_ += (bytes + 15) / 16 * 16;
    return offset;
  }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_ = 0;
};

/// [heads][tokens], each head's row at a multiple of 16 bytes.
void spread_mask(std::span<const std::uint8_t> mask, std::size_t num_heads, std::size_t stride, std::byte* out) {
  const std::size_t num_tokens = mask.size() / num_heads;
  for (std::size_t head = 0; head < num_heads; ++head) {
    std::memcpy(out + head * stride, mask.data() + head * num_tokens, num_tokens);
    std::memset(out + head * stride + num_tokens, 0, stride - num_tokens);
  }
}

}  // namespace

std::uint32_t full_page_tokens(std::span<const KvPage> pages) {
  std::uint32_t common = 0;
  for (std::size_t i = 0; i + 1 < pages.size(); ++i) common = std::gcd(common, pages[i].num_tokens);
  if (common == 0) return std::min(pages.back().num_tokens, kernels::kMaxPageTokens);
  std::uint32_t tokens = std::min(common, kernels::kMaxPageTokens);
  while (common % tokens != 0) --tokens;
  return tokens;
}

kernels::PagedKv upload_view(UploadRing& uploads, const KvView& view, int num_kv_heads, int head_dim) {
  if (view.num_tokens == 0) return {};
  const auto num_heads = static_cast<std::size_t>(num_kv_heads);
  const std::size_t token_bytes = num_heads * static_cast<std::size_t>(head_dim) * sizeof(BFloat16);
  const std::uint32_t page_tokens = full_page_tokens(view.pages);
  const std::vector<Page> pages = cut_pages(view.pages, page_tokens, token_bytes);
  const std::size_t num_pages = pages.size();
  kernels::PagedKv paged;
  paged.tokens.page_tokens = page_tokens;
  paged.tokens.num_slots = view.num_tokens;
  paged.mask_stride = static_cast<std::uint32_t>((paged.tokens.num_slots + 15) / 16 * 16);

  TableLayout layout;
  const std::size_t keys_at = layout.add(num_pages * sizeof(void*));
  const std::size_t values_at = layout.add(num_pages * sizeof(void*));
  const std::size_t mask_bytes = num_heads * paged.mask_stride;
  const std::size_t keep_k_at = layout.add(view.keep_k.empty() ? 0 : mask_bytes);
  const std::size_t keep_v_at = layout.add(view.keep_v.empty() ? 0 : mask_bytes);
  std::byte* host = uploads.begin(Bytes{layout.size()});
  for (std::size_t i = 0; i < num_pages; ++i) {
    std::memcpy(host + keys_at + i * sizeof(void*), &pages[i].keys, sizeof(void*));
    std::memcpy(host + values_at + i * sizeof(void*), &pages[i].values, sizeof(void*));
  }
  if (!view.keep_k.empty()) spread_mask(view.keep_k, num_heads, paged.mask_stride, host + keep_k_at);
  if (!view.keep_v.empty()) spread_mask(view.keep_v, num_heads, paged.mask_stride, host + keep_v_at);

  const std::byte* device = uploads.send();
  paged.key_pages = reinterpret_cast<const BFloat16* const*>(device + keys_at);
  paged.value_pages = reinterpret_cast<const BFloat16* const*>(device + values_at);
  if (!view.keep_k.empty()) paged.keep_k = reinterpret_cast<const std::uint8_t*>(device + keep_k_at);
  if (!view.keep_v.empty()) paged.keep_v = reinterpret_cast<const std::uint8_t*>(device + keep_v_at);
  return paged;
}

kernels::PagedKeys upload_keys(UploadRing& uploads, const KeyView& view, std::uint32_t unit_tokens, int head_dim) {
  REPREFILL_CHECK(unit_tokens <= kernels::kMaxPageTokens, "units of {} tokens; the kernel has at most {}", unit_tokens,
                  kernels::kMaxPageTokens);
  const std::size_t token_bytes =
      static_cast<std::size_t>(view.num_heads) * static_cast<std::size_t>(head_dim) * sizeof(BFloat16);
  const std::vector<Page> pages = cut_pages(view.pages, unit_tokens, token_bytes);
  REPREFILL_CHECK(pages.size() * unit_tokens == view.num_tokens, "pages of {} tokens in units of {}", view.num_tokens,
                  unit_tokens);
  kernels::PagedKeys paged;
  paged.num_heads = static_cast<std::uint32_t>(view.num_heads);
  paged.tokens.page_tokens = unit_tokens;
  paged.tokens.num_slots = view.num_tokens;
  std::byte* host = uploads.begin(Bytes{pages.size() * sizeof(void*)});
  for (std::size_t i = 0; i < pages.size(); ++i) std::memcpy(host + i * sizeof(void*), &pages[i].keys, sizeof(void*));
  paged.pages = reinterpret_cast<const BFloat16* const*>(uploads.send());
  return paged;
}

}  // namespace reprefill::engine
