#include "engine/io/buffered_reader.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace reprefill::engine {

BufferedReader::BufferedReader(PageCache page_cache)
    : page_cache_(page_cache), event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_fd_ < 0) throw MachineError(fmt::format("eventfd: {}", std::strerror(errno)));
  thread_ = std::thread([this] { run(); });
}

BufferedReader::~BufferedReader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  ::close(event_fd_);
}

int BufferedReader::add_file(int descriptor, std::string path) {
  const std::lock_guard lock(mutex_);
  files_.push_back({descriptor, std::move(path)});
  return static_cast<int>(files_.size()) - 1;
}

void BufferedReader::submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) {
  {
    const std::lock_guard lock(mutex_);
    Job& job = (queue == ReadQueue::demand ? demand_ : prefetch_).emplace_back();
    job.report.tag = tag;
    job.ranges.assign(ranges.begin(), ranges.end());
  }
  wake_.notify_one();
}

DroppedRequests BufferedReader::drop_unsubmitted(void* tag) {
  DroppedRequests dropped;
  {
    const std::lock_guard lock(mutex_);
    for (auto* queue : {&demand_, &prefetch_}) {
      for (Job& job : *queue) {
        if (job.report.tag != tag) continue;
        const std::size_t kept = job.is_reading ? 1 : 0;  // the front is with the kernel
        for (std::size_t i = kept; i < job.ranges.size(); ++i) dropped.bytes += job.ranges[i].bytes;
        dropped.num_requests += job.ranges.size() - kept;
        job.ranges.resize(kept);
        job.report.num_dropped += dropped.num_requests;
      }
    }
  }
  wake_.notify_one();
  return dropped;
}

void BufferedReader::harvest(std::vector<FinishedJob>& out) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_fd_, &count, sizeof count);  // EAGAIN: nothing new
  const std::lock_guard lock(mutex_);
  out.insert(out.end(), std::make_move_iterator(finished_.begin()), std::make_move_iterator(finished_.end()));
  finished_.clear();
}

BufferedReader::Job* BufferedReader::next_job() {
  if (!demand_.empty()) return &demand_.front();
  return prefetch_.empty() ? nullptr : &prefetch_.front();
}

void BufferedReader::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || next_job() != nullptr; });
    if (stopping_) return;
    Job& job = *next_job();
    if (!job.started) job.report.start = std::chrono::steady_clock::now();
    job.started = true;
    if (!job.ranges.empty()) {
      const FileRange range = job.ranges.front();
      const File& file = files_[static_cast<std::size_t>(range.file)];
      job.is_reading = true;
      lock.unlock();
      std::exception_ptr failure = read(file, range);
      lock.lock();
      job.is_reading = false;
      job.ranges.pop_front();
      if (failure && !job.report.failure) job.report.failure = std::move(failure);
    }
    if (job.ranges.empty()) finish(job);
  }
}

void BufferedReader::finish(Job& job) {
  job.report.end = std::chrono::steady_clock::now();
  finished_.push_back(std::move(job.report));
  // Only fronts are worked on; a prefetch that was begun may have demand jobs before it in time, not in its queue.
  (&job == (demand_.empty() ? nullptr : &demand_.front()) ? demand_ : prefetch_).pop_front();
  ::eventfd_write(event_fd_, 1);
}

std::exception_ptr BufferedReader::read(const File& file, const FileRange& range) const {
  if (page_cache_ == PageCache::drop) {
    // All of the file: of a range the kernel drops only what lies wholly inside, and with ext4 and xfs on Linux 6 one
    // entry of the cache may be 2 MiB, so that the range of an object drops nothing.
    if (const int error = ::posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED); error != 0) {
      return std::make_exception_ptr(
          MachineError(fmt::format("{}: posix_fadvise(DONTNEED): {}", file.path, std::strerror(error))));
    }
  }
  for (std::uint64_t done = 0; done < range.bytes.value;) {
    const ssize_t got = ::pread(file.descriptor, range.destination + done, range.bytes.value - done,
                                static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return std::make_exception_ptr(
          MachineError(fmt::format("{}: pread of {} bytes at offset {}: {}", file.path, range.bytes.value, range.offset,
                                   got < 0 ? std::strerror(errno) : "the file ends before")));
    }
    done += static_cast<std::uint64_t>(got);
  }
  return nullptr;
}

}  // namespace reprefill::engine
