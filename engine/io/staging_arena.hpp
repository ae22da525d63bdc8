// One stretch of memory that reads land in: taken once, so that io_uring can register it.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::engine {

/// Anonymous memory of a stated size, cut into ranges of whole 4 KiB pages. First fit by address with coalescing: reads
/// come and go nearly in order, so free space stays in few pieces, and the largest pieces gather at the end.
class StagingArena {
 public:
  /// Throws MachineError where mmap fails.
  explicit StagingArena(Bytes capacity);
  ~StagingArena();
  StagingArena(const StagingArena&) = delete;
  StagingArena& operator=(const StagingArena&) = delete;

  /// Page-aligned; nullptr where no free range is long enough.
  std::byte* allocate(Bytes size);
  void release(std::byte* data, Bytes size);
  bool contains(const std::byte* data) const { return data >= base_ && data < base_ + capacity_.value; }

  std::span<std::byte> memory() const { return {base_, capacity_.value}; }
  Bytes used() const { return used_; }
  Bytes peak() const { return peak_; }

 private:
  std::byte* base_ = nullptr;
  Bytes capacity_;
  std::map<std::uint64_t, std::uint64_t> free_;  // offset -> length, no two touch
  Bytes used_;
  Bytes peak_;
};

}  // namespace reprefill::engine
