// One pread at a time through the page cache: what the published prototypes do.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/io/read_job.hpp"

namespace reprefill::engine {

enum class PageCache : std::uint8_t { drop, keep };

/// A thread of its own reads one range after the other, demand before prefetch that has not begun. With PageCache::drop
/// the file is dropped from the page cache before each read, so that the bytes come from the device (design 5).
class BufferedReader final : public FileReader {
 public:
  explicit BufferedReader(PageCache page_cache);
  ~BufferedReader() override;

  int add_file(int descriptor, std::string path) override;
  void submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) override;
  DroppedRequests drop_unsubmitted(void* tag) override;
  void harvest(std::vector<FinishedJob>& out) override;
  int event_fd() const override { return event_fd_; }

 private:
  struct Job {
    FinishedJob report;
    std::deque<FileRange> ranges;
    bool started = false;
    bool is_reading = false;
  };
  struct File {
    int descriptor = -1;
    std::string path;
  };

  void run();
  Job* next_job();
  std::exception_ptr read(const File& file, const FileRange& range) const;
  void finish(Job& job);

  PageCache page_cache_;
  int event_fd_ = -1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<File> files_;  // grows without moving what the thread looks at
  std::deque<Job> demand_, prefetch_;
  std::vector<FinishedJob> finished_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace reprefill::engine
