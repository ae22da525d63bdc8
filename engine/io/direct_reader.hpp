// Reads past the page cache with two priorities and a bounded number under way.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>

#include "engine/io/read_job.hpp"
#include "engine/io/read_ring.hpp"

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
  /// Throws ConfigError for a depth that io_uring does not have, MachineError as make_uring.
  explicit DirectReader(const DirectReaderOptions& options);
  DirectReader(std::unique_ptr<ReadRing> ring, std::uint32_t queue_depth);
  ~DirectReader() override;

  int add_file(int descriptor, std::string path) override;
  void submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) override;
  DroppedRequests drop_unsubmitted(void* tag) override;
  void harvest(std::vector<FinishedJob>& out) override;
  int event_fd() const override { return ring_->event_fd(); }

  /// "io_uring, depth 128, registered files, registered buffers".
  std::string describe() const;

 private:
  struct Job {
    FinishedJob report;
    std::size_t num_unfinished = 0;  // queued or with the kernel
    bool started = false;
  };
  struct Request {
    Job* job = nullptr;
    FileRange range;               // what is left of it
    std::uint32_t num_stalls = 0;  // completions in a row that brought nothing
  };
  struct File {
    int descriptor = -1;
    std::string path;
  };

  void pump();
  void begin(std::uint32_t slot);
  void hand_over();
  void complete(const RingCompletion& completion);
  bool continue_request(std::uint32_t slot, int result);
  bool file_ends_at(const FileRange& range, int result) const;
  void fail(Job& job, const FileRange& range, const std::string& why);
  void end_requests(Job& job, std::size_t count);
  void wake();

  std::unique_ptr<ReadRing> ring_;
  std::uint32_t depth_;
  std::vector<File> files_;
  std::unordered_map<void*, std::unique_ptr<Job>> jobs_;
  std::deque<Request> demand_, prefetch_;
  std::vector<Request> slots_;  // begun, by the tag that the ring has; never more than the depth
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::uint32_t> to_continue_;  // begun, and not with the ring: before everything else, never dropped
  std::vector<FinishedJob> finished_;
};

}  // namespace reprefill::engine
