// What the machine asks of storage: reads of segment files into staging, finished in any order.
#pragma once

#include <exception>
#include <span>
#include <vector>

#include "core/layout/read_planner.hpp"
#include "engine/io/read_job.hpp"
#include "engine/real_machine/block.hpp"

namespace reprefill::engine {

/// One request to the device: an aligned range of a segment's file and where it goes.
struct StoredRange {
  SegmentId segment;
  std::uint64_t offset = 0;
  Bytes bytes;
  std::byte* destination = nullptr;
};

struct FinishedRead {
  void* tag = nullptr;
  Nanoseconds start{0};  // submission of its first request to the kernel
  Nanoseconds end{0};
  std::exception_ptr failure;
};

class ReadSource {
 public:
  virtual ~ReadSource() = default;
  /// Staging memory that reads land in.
  virtual BlockPool& staging() = 0;
  /// All ranges of one read; it finishes when the last is there. Demand overtakes unsubmitted prefetch.
  virtual void submit(void* tag, std::span<const StoredRange> ranges, bool demand) = 0;
  /// Drops what has not been submitted to the kernel, and says what that was.
  virtual DroppedRequests drop_unsubmitted(void* tag) = 0;
  virtual void harvest(std::vector<FinishedRead>& out) = 0;
  /// Readable while something waits to be harvested.
  virtual int event_fd() const = 0;
};

}  // namespace reprefill::engine
