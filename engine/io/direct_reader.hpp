// Reads through io_uring: registered files and buffers, two priorities, a bounded number under way.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>

#include <liburing.h>

#include "engine/io/read_job.hpp"

namespace reprefill::engine {

struct DirectReaderOptions {
  std::uint32_t queue_depth = 128;
  std::span<std::byte> buffers = {};  // registered, so that the kernel need not map them for each read
  bool unregistered_buffers = false;  // do without, where locked memory is short
  std::uint32_t max_files = 1 << 16;
};

/// Demand overtakes prefetch that the kernel does not have yet. Short reads are continued; EINTR and EAGAIN are tried
/// again; everything else fails the job. Destruction waits for what the kernel has, since it writes to the callers'
/// memory.
class DirectReader final : public FileReader {
 public:
  /// Throws MachineError where io_uring is not to be had, or locked memory too little: with the limit and what to do.
  explicit DirectReader(const DirectReaderOptions& options);
  ~DirectReader() override;

  int add_file(int descriptor, std::string path) override;
  void submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) override;
  DroppedRequests drop_unsubmitted(void* tag) override;
  void harvest(std::vector<FinishedJob>& out) override;
  int event_fd() const override { return event_fd_; }

  /// "io_uring, depth 128, registered files and buffers".
  std::string describe() const;

 private:
  struct Job {
    FinishedJob report;
    std::size_t num_unfinished = 0;  // queued or with the kernel
    bool started = false;
  };
  struct Request {
    Job* job = nullptr;
    FileRange range;  // what is left of it
  };
  struct File {
    int descriptor = -1;
    std::string path;
  };

  void register_buffers(const DirectReaderOptions& options);
  void register_files();
  void pump();
  void prepare(Request* request);
  void complete(Request* request, int result);
  void fail(Job& job, const FileRange& range, int error, const char* what);
  void end_request(Job& job);
  int buffer_of(const std::byte* data) const;

  io_uring ring_{};
  int event_fd_ = -1;
  std::uint32_t depth_;
  std::uint32_t max_files_;
  std::span<std::byte> registered_;
  bool files_registered_ = false;
  std::vector<File> files_;
  std::unordered_map<void*, std::unique_ptr<Job>> jobs_;
  std::deque<std::unique_ptr<Request>> demand_, prefetch_;
  std::uint32_t num_in_flight_ = 0;
  std::vector<FinishedJob> finished_;
};

}  // namespace reprefill::engine
