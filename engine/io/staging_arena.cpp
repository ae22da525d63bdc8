#include "engine/io/staging_arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint64_t kPage = 4096;
std::uint64_t whole_pages(Bytes size) { return divide_rounding_up(size.value, kPage) * kPage; }

}  // namespace

StagingArena::StagingArena(Bytes capacity) : capacity_(whole_pages(capacity)) {
  if (capacity_.value == 0) return;
  void* memory = ::mmap(nullptr, capacity_.value, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw MachineError(fmt::format("staging of {} bytes: mmap: {}", capacity_.value, std::strerror(errno)));
  }
  ::madvise(memory, capacity_.value, MADV_HUGEPAGE);  // advice: fewer entries to translate, nothing else
  base_ = static_cast<std::byte*>(memory);
  free_[0] = capacity_.value;
}

StagingArena::~StagingArena() {
  if (base_ != nullptr) ::munmap(base_, capacity_.value);
}

std::byte* StagingArena::allocate(Bytes size) {
  const std::uint64_t wanted = whole_pages(size);
  const auto range = std::find_if(free_.begin(), free_.end(), [&](const auto& free) { return free.second >= wanted; });
  if (wanted == 0 || range == free_.end()) return nullptr;
  const auto [offset, length] = *range;
  free_.erase(range);
  if (length > wanted) free_[offset + wanted] = length - wanted;
  used_ += Bytes{wanted};
  peak_ = std::max(peak_, used_);
  return base_ + offset;
}

void StagingArena::release(std::byte* data, Bytes size) {
  std::uint64_t length = whole_pages(size);
  const auto offset = static_cast<std::uint64_t>(data - base_);
  REPREFILL_CHECK(contains(data) && offset + length <= capacity_.value, "{} is no range of this staging",
                  fmt::ptr(data));
  auto next = free_.lower_bound(offset);
  const bool overlaps_next = next != free_.end() && next->first < offset + length;
  const bool overlaps_before = next != free_.begin() && std::prev(next)->first + std::prev(next)->second > offset;
  REPREFILL_CHECK(!overlaps_next && !overlaps_before, "staging range at {} is freed twice", offset);
  used_ -= Bytes{length};
  if (next != free_.end() && next->first == offset + length) {
    length += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += length;
      return;
    }
  }
  free_[offset] = length;
}

}  // namespace reprefill::engine
