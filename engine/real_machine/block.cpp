#include "engine/real_machine/block.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kAlignment = 4096;
constexpr std::uint64_t kSlabBytes = 1u << 20;

class HostMemory final : public MemorySource {
 public:
  std::byte* allocate(Bytes size) override {
    const std::uint64_t bytes = divide_rounding_up(size.value, std::uint64_t{kAlignment}) * kAlignment;
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes));
    if (data == nullptr) throw std::bad_alloc();
    pieces_.emplace_back(data);
    return data;
  }

 private:
  struct FreeAligned {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::vector<std::unique_ptr<std::byte, FreeAligned>> pieces_;
};

class GpuMemory final : public MemorySource {
 public:
  explicit GpuMemory(Gpu& gpu) : gpu_(gpu) {}
  std::byte* allocate(Bytes size) override { return pieces_.emplace_back(gpu_, size.value).data(); }

 private:
  Gpu& gpu_;
  std::vector<GpuArray<std::byte>> pieces_;
};

class PinnedMemory final : public MemorySource {
 public:
  explicit PinnedMemory(Gpu& gpu) : gpu_(gpu) {}
  std::byte* allocate(Bytes size) override { return pieces_.emplace_back(gpu_, size).data(); }

 private:
  Gpu& gpu_;
  std::vector<PinnedArray> pieces_;
};

}  // namespace

std::unique_ptr<MemorySource> make_host_memory() { return std::make_unique<HostMemory>(); }
std::unique_ptr<MemorySource> make_gpu_memory(Gpu& gpu) { return std::make_unique<GpuMemory>(gpu); }
std::unique_ptr<MemorySource> make_pinned_memory(Gpu& gpu) { return std::make_unique<PinnedMemory>(gpu); }

std::byte* SlabPool::allocate(Bytes size) {
  std::vector<std::byte*>& blocks = free_[size.value];
  if (blocks.empty()) {
    // Blocks start at cache lines, whatever their size.
    const std::uint64_t stride = divide_rounding_up(std::max<std::uint64_t>(size.value, 1), std::uint64_t{64}) * 64;
    const std::uint64_t count = std::max<std::uint64_t>(1, kSlabBytes / stride);
    std::byte* slab = cut(count * stride);
    for (std::uint64_t i = count; i-- > 0;) blocks.push_back(slab + i * stride);
  }
  std::byte* data = blocks.back();
  blocks.pop_back();
  used_ += size;
  peak_ = std::max(peak_, used_);
  return data;
}

void SlabPool::release(std::byte* data, Bytes size) {
  free_[size.value].push_back(data);
  used_ -= size;
}

void SlabPool::reserve(Bytes size) {
  if (size.value <= left_bytes_) return;
  left_ = source_->allocate(size);
  left_bytes_ = size.value;
}

/// What is left of a piece that is too short for a slab stays unused.
std::byte* SlabPool::cut(std::uint64_t bytes) {
  const std::uint64_t rounded = divide_rounding_up(bytes, std::uint64_t{256}) * 256;
  if (rounded > left_bytes_) {
    left_bytes_ = std::max(rounded, piece_.value);
    left_ = source_->allocate(Bytes{left_bytes_});
  }
  std::byte* slab = left_;
  left_ += rounded;
  left_bytes_ -= rounded;
  return slab;
}

}  // namespace reprefill::engine
