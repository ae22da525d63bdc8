#include "engine/io/direct_reader.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

/// The kernel takes at most 1 GiB as one buffer.
constexpr std::size_t kMaxBufferBytes = std::size_t{1} << 30;

[[noreturn]] void throw_setup(const char* call, int error) {
  std::string hint;
  if (error == EPERM || error == EACCES || error == ENOSYS) {
    hint =
        "; io_uring is blocked here (kernel.io_uring_disabled, a container's seccomp profile, or a kernel before "
        "5.6): allow it, or read through the page cache with --buffered";
  }
  throw MachineError(fmt::format("{}: {}{}", call, std::strerror(error), hint));
}

[[noreturn]] void throw_memlock(const char* call, std::size_t wanted, int error) {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  throw MachineError(fmt::format(
      "{}: {}: {} bytes must be locked, the limit of this process is {} (ulimit -l); "
      "raise it with `ulimit -l {}` or in /etc/security/limits.conf, set staging_bytes lower, or do without locked "
      "memory: --unregistered-buffers",
      call, std::strerror(error), wanted, limit.rlim_cur, wanted / 1024 + 1024));
}

}  // namespace

DirectReader::DirectReader(const DirectReaderOptions& options)
    : depth_(options.queue_depth), max_files_(options.max_files) {
  io_uring_params params{};
  params.flags = IORING_SETUP_CLAMP;
  const int error = io_uring_queue_init_params(std::max(2u, depth_), &ring_, &params);
  if (error == -ENOMEM) throw_memlock("io_uring_queue_init", options.buffers.size(), ENOMEM);
  if (error < 0) throw_setup("io_uring_queue_init", -error);
  event_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  try {
    if (event_fd_ < 0) throw_setup("eventfd", errno);
    if (const int registered = io_uring_register_eventfd(&ring_, event_fd_); registered < 0) {
      throw_setup("io_uring_register_eventfd", -registered);
    }
    register_buffers(options);
    register_files();
  } catch (...) {
    io_uring_queue_exit(&ring_);
    if (event_fd_ >= 0) ::close(event_fd_);
    throw;
  }
}

DirectReader::~DirectReader() {
  for (auto* queue : {&demand_, &prefetch_}) queue->clear();
  while (num_in_flight_ > 0) {
    io_uring_cqe* completion = nullptr;
    if (io_uring_wait_cqe(&ring_, &completion) < 0) continue;
    delete static_cast<Request*>(io_uring_cqe_get_data(completion));
    io_uring_cqe_seen(&ring_, completion);
    --num_in_flight_;
  }
  io_uring_queue_exit(&ring_);
  ::close(event_fd_);
}

void DirectReader::register_buffers(const DirectReaderOptions& options) {
  if (options.buffers.empty() || options.unregistered_buffers) return;
  std::vector<iovec> pieces;
  for (std::size_t at = 0; at < options.buffers.size(); at += kMaxBufferBytes) {
    pieces.push_back({options.buffers.data() + at, std::min(kMaxBufferBytes, options.buffers.size() - at)});
  }
  const int error = io_uring_register_buffers(&ring_, pieces.data(), static_cast<unsigned>(pieces.size()));
  if (error == -ENOMEM || error == -EPERM) {
    throw_memlock("io_uring_register_buffers", options.buffers.size(), -error);
  }
  if (error < 0) throw_setup("io_uring_register_buffers", -error);
  registered_ = options.buffers;
}

/// The table may be no larger than the process's limit of open files. Kernels before 5.19 have no sparse table: plain
/// descriptors do there, at a little more cost per read.
void DirectReader::register_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  max_files_ = static_cast<std::uint32_t>(std::min<rlim_t>(max_files_, limit.rlim_cur));
  files_registered_ = io_uring_register_files_sparse(&ring_, max_files_) >= 0;
}

int DirectReader::add_file(int descriptor, std::string path) {
  const int number = static_cast<int>(files_.size());
  if (files_registered_) {
    REPREFILL_CHECK(files_.size() < max_files_, "more than {} files", max_files_);
    int updated = descriptor;
    const int error = io_uring_register_files_update(&ring_, static_cast<unsigned>(number), &updated, 1);
    if (error < 0) throw_setup("io_uring_register_files_update", -error);
  }
  files_.push_back({descriptor, std::move(path)});
  return number;
}

std::string DirectReader::describe() const {
  return fmt::format("io_uring, depth {}, {} files, {} buffers", depth_,
                     files_registered_ ? "registered" : "unregistered",
                     registered_.empty() ? "unregistered" : "registered");
}

void DirectReader::submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) {
  auto& job = jobs_[tag];
  REPREFILL_CHECK(job == nullptr, "a job of this tag is under way");
  job = std::make_unique<Job>();
  job->report.tag = tag;
  job->report.start = job->report.end = std::chrono::steady_clock::now();
  job->num_unfinished = ranges.size();
  for (const FileRange& range : ranges) {
    (queue == ReadQueue::demand ? demand_ : prefetch_).push_back(std::make_unique<Request>(Request{job.get(), range}));
  }
  if (ranges.empty()) {
    job->num_unfinished = 1;
    end_request(*job);
    ::eventfd_write(event_fd_, 1);
  }
  pump();
}

DroppedRequests DirectReader::drop_unsubmitted(void* tag) {
  DroppedRequests dropped;
  const auto found = jobs_.find(tag);
  if (found == jobs_.end()) return dropped;
  Job& job = *found->second;
  for (auto* queue : {&demand_, &prefetch_}) {
    std::erase_if(*queue, [&](const auto& request) {
      if (request->job != &job) return false;
      ++dropped.num_requests;
      dropped.bytes += request->range.bytes;
      return true;
    });
  }
  if (dropped.num_requests == 0) return dropped;
  job.report.num_dropped += dropped.num_requests;
  job.num_unfinished -= dropped.num_requests - 1;
  if (job.num_unfinished == 1) ::eventfd_write(event_fd_, 1);
  end_request(job);
  return dropped;
}

/// Hands queued requests to the kernel while there is room, all in one call.
void DirectReader::pump() {
  bool any = false;
  while (num_in_flight_ < depth_ && !(demand_.empty() && prefetch_.empty())) {
    auto& queue = demand_.empty() ? prefetch_ : demand_;
    Request* request = queue.front().release();
    queue.pop_front();
    prepare(request);
    any = true;
  }
  if (!any) return;
  for (;;) {
    const int error = io_uring_submit(&ring_);
    if (error >= 0) return;
    if (error != -EINTR && error != -EAGAIN && error != -EBUSY) throw_setup("io_uring_submit", -error);
  }
}

int DirectReader::buffer_of(const std::byte* data) const {
  if (registered_.empty() || data < registered_.data() || data >= registered_.data() + registered_.size()) return -1;
  return static_cast<int>(static_cast<std::size_t>(data - registered_.data()) / kMaxBufferBytes);
}

void DirectReader::prepare(Request* request) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  REPREFILL_CHECK(entry != nullptr, "the submission queue is full at {} in flight", num_in_flight_);
  const FileRange& range = request->range;
  const int file = files_registered_ ? range.file : files_[static_cast<std::size_t>(range.file)].descriptor;
  const auto bytes = static_cast<unsigned>(range.bytes.value);
  // A read that crosses from one registered piece into the next goes unregistered.
  const int buffer = buffer_of(range.destination);
  if (buffer >= 0 && buffer == buffer_of(range.destination + bytes - 1)) {
    io_uring_prep_read_fixed(entry, file, range.destination, bytes, range.offset, buffer);
  } else {
    io_uring_prep_read(entry, file, range.destination, bytes, range.offset);
  }
  if (files_registered_) entry->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data(entry, request);
  if (!request->job->started) request->job->report.start = std::chrono::steady_clock::now();
  request->job->started = true;
  ++num_in_flight_;
}

void DirectReader::harvest(std::vector<FinishedJob>& out) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_fd_, &count, sizeof count);  // EAGAIN: nothing new
  io_uring_cqe* completion = nullptr;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    auto* request = static_cast<Request*>(io_uring_cqe_get_data(completion));
    const int result = completion->res;
    io_uring_cqe_seen(&ring_, completion);
    --num_in_flight_;
    complete(request, result);
  }
  pump();
  out.insert(out.end(), std::make_move_iterator(finished_.begin()), std::make_move_iterator(finished_.end()));
  finished_.clear();
}

void DirectReader::complete(Request* raw, int result) {
  std::unique_ptr<Request> request(raw);
  Job& job = *request->job;
  FileRange& range = request->range;
  const bool again = result == -EINTR || result == -EAGAIN;
  const bool is_short = result > 0 && static_cast<std::uint64_t>(result) < range.bytes.value;
  if (again || is_short) {
    if (is_short) {
      range.offset += static_cast<std::uint64_t>(result);
      range.destination += result;
      range.bytes -= Bytes{static_cast<std::uint64_t>(result)};
    }
    demand_.push_front(std::move(request));  // it was begun: nothing overtakes it
    return;
  }
  if (result < 0) fail(job, range, -result, "io_uring read");
  if (result == 0 && range.bytes.value > 0) fail(job, range, 0, "io_uring read: the file ends before");
  end_request(job);
}

void DirectReader::fail(Job& job, const FileRange& range, int error, const char* what) {
  if (job.report.failure) return;  // the first one tells
  job.report.failure = std::make_exception_ptr(MachineError(
      fmt::format("{}: {}{}{} ({} bytes at offset {})", files_[static_cast<std::size_t>(range.file)].path, what,
                  error != 0 ? ": " : "", error != 0 ? std::strerror(error) : "", range.bytes.value, range.offset)));
}

void DirectReader::end_request(Job& job) {
  if (--job.num_unfinished > 0) return;
  job.report.end = std::chrono::steady_clock::now();
  void* tag = job.report.tag;
  finished_.push_back(std::move(job.report));
  jobs_.erase(tag);
}

}  // namespace reprefill::engine
