// What readers of files are asked to do, and what they report.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::engine {

/// One request to the device. For direct reads offset, bytes and destination are multiples of the file system's block.
struct FileRange {
  int file = 0;  // number that `add_file` gave
  std::uint64_t offset = 0;
  Bytes bytes;
  std::byte* destination = nullptr;
};

/// What was taken back before the kernel had it.
struct DroppedRequests {
  std::size_t num_requests = 0;
  Bytes bytes;
};

enum class ReadQueue : std::uint8_t { demand, prefetch };

struct FinishedJob {
  void* tag = nullptr;
  std::chrono::steady_clock::time_point start;  // submission of the first request to the kernel
  std::chrono::steady_clock::time_point end;
  std::size_t num_dropped = 0;           // requests that `drop_unsubmitted` took back
  std::exception_ptr failure = nullptr;  // MachineError naming call, file and offset
};

/// Reads of open files that finish in any order. One thread calls everything. A job is done when its last request is.
class FileReader {
 public:
  virtual ~FileReader() = default;
  /// `path` names the file in errors; the descriptor stays the caller's and open until the reader is gone.
  virtual int add_file(int descriptor, std::string path) = 0;
  /// `tag` names the job until it is finished. Destinations must stay until then.
  virtual void submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) = 0;
  /// Requests that the kernel does not have yet are dropped; the job finishes when those that it has are done.
  virtual DroppedRequests drop_unsubmitted(void* tag) = 0;
  /// Appends what has finished. Never blocks.
  virtual void harvest(std::vector<FinishedJob>& out) = 0;
  /// Readable while something can be harvested.
  virtual int event_fd() const = 0;
};

}  // namespace reprefill::engine
