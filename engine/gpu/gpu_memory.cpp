#include "engine/gpu/gpu_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint64_t kPage = 4096;

std::uint64_t whole_pages(Bytes size) { return std::max<std::uint64_t>(1, (size.value + kPage - 1) / kPage) * kPage; }

}  // namespace

PinnedArray::PinnedArray(Gpu& gpu, Bytes size) : gpu_(&gpu), size_(size) {
  void* data = ::mmap(nullptr, whole_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw MachineError(fmt::format("mmap of {} bytes of pinned memory: {}", size.value, std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(data);
  try {
    gpu.pin(data_, Bytes{whole_pages(size)});
  } catch (...) {
    ::munmap(data, whole_pages(size));
    throw;
  }
}

PinnedArray::~PinnedArray() {
  if (data_ == nullptr) return;
  gpu_->unpin(data_);
  ::munmap(data_, whole_pages(size_));
}

std::shared_ptr<std::byte> GpuBlockCache::take(Bytes size) {
  const std::uint64_t rounded = std::bit_ceil(std::max<std::uint64_t>(size.value, 512));
  std::byte* data = nullptr;
  {
    const std::lock_guard lock(mutex_);
    std::vector<std::byte*>& blocks = free_[rounded];
    if (!blocks.empty()) {
      data = blocks.back();
      blocks.pop_back();
    } else if (kind_ == Kind::device) {
      data = device_.emplace_back(gpu_, rounded).data();
    } else {
      data = pinned_.emplace_back(gpu_, Bytes{rounded}).data();
    }
  }
  return {data, [this, rounded](std::byte* block) {
            const std::lock_guard lock(mutex_);
            free_[rounded].push_back(block);
          }};
}

std::byte* UploadRing::begin(Bytes size) {
  Slot& slot = slots_[next_];
  if (slot.sent) gpu_.synchronize(*slot.sent);
  if (slot.device.size() < size.value) {
    const std::uint64_t rounded = std::bit_ceil(std::max<std::uint64_t>(size.value, kPage));
    gpu_.synchronize(stream_);  // kernels may still use the device's part
    slot = {};
    slot.host = PinnedArray(gpu_, Bytes{rounded});
    slot.device = GpuArray<std::byte>(gpu_, rounded);
  }
  size_ = size;
  return slot.host.data();
}

std::byte* UploadRing::send() {
  note_use();
  Slot& slot = slots_[next_];
  gpu_.copy(slot.device.data(), slot.host.data(), size_, copies_);
  slot.sent = gpu_.record(copies_);
  gpu_.wait(stream_, *slot.sent);
  next_ = (next_ + 1) % kNumSlots;
  return slot.device.data();
}

/// At the beginning of a quarter: the one before the last has been used by what is submitted by now, and copies into
/// this one wait for what used it a round ago.
void UploadRing::note_use() {
  if (next_ % kQuarterSlots != 0) return;
  const std::size_t quarter = next_ / kQuarterSlots;
  used_[(quarter + 2) % 4] = gpu_.record(stream_);
  if (used_[quarter]) gpu_.wait(copies_, *used_[quarter]);
}

}  // namespace reprefill::engine
