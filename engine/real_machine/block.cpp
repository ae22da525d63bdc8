#include "engine/real_machine/block.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace reprefill::engine {
namespace {

constexpr std::size_t kAlignment = 4096;
constexpr std::uint64_t kSlabBytes = 1u << 20;

}  // namespace

void HeapPool::FreeAligned::operator()(std::byte* data) const { std::free(data); }

std::byte* HeapPool::allocate(Bytes size) {
  std::vector<std::byte*>& blocks = free_[size.value];
  if (blocks.empty()) {
    // Blocks start at cache lines, whatever their size.
    const std::uint64_t stride = divide_rounding_up(std::max<std::uint64_t>(size.value, 1), std::uint64_t{64}) * 64;
    const std::uint64_t count = std::max<std::uint64_t>(1, kSlabBytes / stride);
    const std::uint64_t bytes = divide_rounding_up(count * stride, std::uint64_t{kAlignment}) * kAlignment;
    auto* slab = static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes));
    if (slab == nullptr) throw std::bad_alloc();
    slabs_.emplace_back(slab);
    for (std::uint64_t i = count; i-- > 0;) blocks.push_back(slab + i * stride);
  }
  std::byte* data = blocks.back();
  blocks.pop_back();
  used_ += size;
  peak_ = std::max(peak_, used_);
  return data;
}

void HeapPool::release(std::byte* data, Bytes size) {
  free_[size.value].push_back(data);
  used_ -= size;
}

}  // namespace reprefill::engine
