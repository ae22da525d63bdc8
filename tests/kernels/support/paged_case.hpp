// A random stored prefix in pages that lie in memory in random order, on the host and on the device.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/base/paged.hpp"
#include "tests/kernels/support/kernel_test.hpp"

namespace reprefill::kernels::test {

struct PagedSpec {
  std::uint32_t page_tokens = 16;
  std::uint32_t num_slots = 0;
  bool is_ragged = false;  // pages hold 1 to page_tokens tokens, the last up to num_slots
  std::uint32_t num_heads = 1;
  std::uint32_t head_dim = 128;
  std::uint64_t seed = 1;
};

/// Keys or values in pages. What no token occupies is NaN, also behind the last token of a page.
class PagedRows {
 public:
  PagedRows(const PagedSpec& spec, std::string_view name, std::span<const std::uint32_t> tokens_per_page)
      : page_size_(std::size_t{spec.page_tokens} * spec.num_heads * spec.head_dim) {
    const std::size_t num_pages = tokens_per_page.size();
    values_ = random_bf16(spec.seed, name, num_pages * page_size_);
    order_.resize(num_pages);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    RandomStream random(spec.seed, 1, name);
    for (std::size_t i = num_pages; i > 1; --i) std::swap(order_[i - 1], order_[random.below(i)]);
    for (std::size_t page = 0; page < num_pages; ++page) {
      const std::size_t used = std::size_t{tokens_per_page[page]} * spec.num_heads * spec.head_dim;
      std::fill(page_of(page) + used, page_of(page) + page_size_, BFloat16{0x7fff});
    }
    upload();
  }

  BFloat16* page_of(std::size_t page) { return values_.data() + order_[page] * page_size_; }
  /// After changes to the host's copy.
  void upload() {
    device_ = DeviceArray<BFloat16>(values_);
    std::vector<const BFloat16*> device_pointers;
    host_pointers_.clear();
    for (const std::size_t place : order_) {
      host_pointers_.push_back(values_.data() + place * page_size_);
      device_pointers.push_back(device_.get() + place * page_size_);
    }
    device_pointers_ = DeviceArray<const BFloat16*>(device_pointers);
  }
  void set_null(std::size_t page) {
    host_pointers_[page] = nullptr;
    std::vector<const BFloat16*> pointers = device_pointers_.read();
    pointers[page] = nullptr;
    device_pointers_ = DeviceArray<const BFloat16*>(pointers);
  }
  /// On the device only: what a kernel that mixes up pages would read.
  void swap_on_device(std::size_t a, std::size_t b) {
    std::vector<const BFloat16*> pointers = device_pointers_.read();
    std::swap(pointers[a], pointers[b]);
    device_pointers_ = DeviceArray<const BFloat16*>(pointers);
  }

  const BFloat16* const* host() const { return host_pointers_.data(); }
  const BFloat16* const* device() const { return device_pointers_.get(); }

 private:
  std::size_t page_size_;
  std::vector<BFloat16> values_;
  std::vector<std::size_t> order_;
  std::vector<const BFloat16*> host_pointers_;
  DeviceArray<BFloat16> device_;
  DeviceArray<const BFloat16*> device_pointers_;
};

/// Tokens of each page.
inline std::vector<std::uint32_t> page_sizes(const PagedSpec& spec) {
  RandomStream random(spec.seed, 0, "page sizes");
  std::vector<std::uint32_t> sizes;
  for (std::uint32_t first = 0; first < spec.num_slots; first += spec.page_tokens) {
    const std::uint32_t most = std::min(spec.page_tokens, spec.num_slots - first);
    const bool is_last = first + spec.page_tokens >= spec.num_slots;
    sizes.push_back(spec.is_ragged && !is_last ? 1 + static_cast<std::uint32_t>(random.below(most)) : most);
  }
  return sizes;
}

}  // namespace reprefill::kernels::test
