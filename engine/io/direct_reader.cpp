#include "engine/io/direct_reader.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

/// The most that one submission asks for: below what the kernel gives in one read (2 GiB less a page).
constexpr std::uint64_t kMaxReadBytes = std::uint64_t{1} << 30;
/// Direct reads begin on a block's boundary, also those that continue a short one; no file system's block is larger.
constexpr std::uint64_t kBlockBytes = 4096;
/// A device that answers EAGAIN this often in a row does not mean "later".
constexpr std::uint32_t kMaxStalls = 1000;
/// io_uring's own limit of entries.
constexpr std::uint32_t kMaxDepth = 32768;

bool is_transient(int error) { return error == EINTR || error == EAGAIN; }

std::string describe_error(int error) {
  const char* name = ::strerrorname_np(error);
  return fmt::format("{} ({})", name != nullptr ? name : "unknown error", std::strerror(error));
}

std::unique_ptr<ReadRing> open_ring(const DirectReaderOptions& options) {
  if (options.queue_depth < 1 || options.queue_depth > kMaxDepth) {
    throw ConfigError(fmt::format("queue_depth: found {}; io_uring takes 1 to {}", options.queue_depth, kMaxDepth));
  }
  return make_uring({.depth = options.queue_depth,
                     .buffers = options.buffers,
                     .unregistered_buffers = options.unregistered_buffers,
                     .max_files = options.max_files});
}

}  // namespace

DirectReader::DirectReader(const DirectReaderOptions& options)
    : DirectReader(open_ring(options), options.queue_depth) {}

DirectReader::DirectReader(std::unique_ptr<ReadRing> ring, std::uint32_t queue_depth)
    : ring_(std::move(ring)), depth_(queue_depth), slots_(queue_depth) {
  REPREFILL_CHECK(depth_ > 0, "a reader of depth 0 never reads");
  for (std::uint32_t slot = depth_; slot-- > 0;) free_slots_.push_back(slot);
}

DirectReader::~DirectReader() {
  std::size_t with_kernel = depth_ - free_slots_.size() - to_continue_.size() - ring_->num_prepared();
  while (with_kernel > 0) {
    ring_->wait();
    while (ring_->next_completion()) --with_kernel;
  }
}

int DirectReader::add_file(int descriptor, std::string path) {
  ring_->add_file(descriptor);
  files_.push_back({descriptor, std::move(path)});
  return static_cast<int>(files_.size()) - 1;
}

std::string DirectReader::describe() const { return fmt::format("io_uring, depth {}, {}", depth_, ring_->describe()); }

void DirectReader::submit(void* tag, std::span<const FileRange> ranges, ReadQueue queue) {
  auto& job = jobs_[tag];
  REPREFILL_CHECK(job == nullptr, "a job of this tag is under way");
  job = std::make_unique<Job>();
  job->report.tag = tag;
  job->report.start = std::chrono::steady_clock::now();
  job->num_unfinished = ranges.size();
  for (const FileRange& range : ranges) {
    REPREFILL_CHECK(range.file >= 0 && static_cast<std::size_t>(range.file) < files_.size(), "no file {}", range.file);
    (queue == ReadQueue::demand ? demand_ : prefetch_).push_back({.job = job.get(), .range = range});
  }
  if (ranges.empty()) {
    end_requests(*job, 0);
    wake();
  }
  pump();
}

DroppedRequests DirectReader::drop_unsubmitted(void* tag) {
  DroppedRequests dropped;
  const auto found = jobs_.find(tag);
  if (found == jobs_.end()) return dropped;
  Job& job = *found->second;
  for (auto* queue : {&demand_, &prefetch_}) {
    std::erase_if(*queue, [&](const Request& request) {
      if (request.job != &job) return false;
      ++dropped.num_requests;
      dropped.bytes += request.range.bytes;
      return true;
    });
  }
  if (dropped.num_requests == 0) return dropped;
  job.report.num_dropped += dropped.num_requests;
  if (job.num_unfinished == dropped.num_requests) wake();
  end_requests(job, dropped.num_requests);
  return dropped;
}

/// Begins what there is room for, all in one call to the kernel.
void DirectReader::pump() {
  for (const std::uint32_t slot : to_continue_) begin(slot);
  to_continue_.clear();
  while (!free_slots_.empty() && !(demand_.empty() && prefetch_.empty())) {
    auto& queue = demand_.empty() ? prefetch_ : demand_;
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = queue.front();
    queue.pop_front();
    begin(slot);
  }
  hand_over();
}

void DirectReader::begin(std::uint32_t slot) {
  const Request& request = slots_[slot];
  if (!request.job->started) request.job->report.start = std::chrono::steady_clock::now();
  request.job->started = true;
  ring_->prepare({.tag = slot,
                  .file = request.range.file,
                  .offset = request.range.offset,
                  .bytes = static_cast<std::uint32_t>(std::min(request.range.bytes.value, kMaxReadBytes)),
                  .destination = request.range.destination});
}

/// The kernel may take a part of what is prepared, or nothing just now.
void DirectReader::hand_over() {
  std::uint32_t num_stalls = 0;
  while (ring_->num_prepared() > 0) {
    const int taken = ring_->submit();
    if (taken > 0) continue;
    if ((taken < 0 && !is_transient(-taken) && taken != -EBUSY) || ++num_stalls == kMaxStalls) {
      throw MachineError(fmt::format("io_uring_submit: {}", taken < 0 ? describe_error(-taken) : "takes nothing"));
    }
  }
}

void DirectReader::harvest(std::vector<FinishedJob>& out) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_fd(), &count, sizeof count);  // EAGAIN: nothing new
  while (const std::optional<RingCompletion> completion = ring_->next_completion()) complete(*completion);
  pump();
  out.insert(out.end(), std::make_move_iterator(finished_.begin()), std::make_move_iterator(finished_.end()));
  finished_.clear();
}

void DirectReader::complete(const RingCompletion& completion) {
  const auto slot = static_cast<std::uint32_t>(completion.tag);
  Job& job = *slots_[slot].job;
  if (continue_request(slot, completion.result)) {
    to_continue_.push_back(slot);
    return;
  }
  free_slots_.push_back(slot);
  end_requests(job, 1);
}

/// Accounts for one completion; says whether the request must go on.
bool DirectReader::continue_request(std::uint32_t slot, int result) {
  Request& request = slots_[slot];
  FileRange& range = request.range;
  if (result < 0 && !is_transient(-result)) {
    fail(*request.job, range, describe_error(-result));
    return false;
  }
  if (result >= 0 && static_cast<std::uint64_t>(result) == range.bytes.value) return false;
  if (result >= 0 && file_ends_at(range, result)) {
    fail(*request.job, range, fmt::format("the file ends before, at {}", range.offset + static_cast<unsigned>(result)));
    return false;
  }
  const std::uint64_t progress = result > 0 ? static_cast<std::uint64_t>(result) / kBlockBytes * kBlockBytes : 0;
  range.offset += progress;
  range.destination += progress;
  range.bytes -= Bytes{progress};
  request.num_stalls = progress > 0 ? 0 : request.num_stalls + 1;
  if (request.num_stalls < kMaxStalls) return true;
  fail(*request.job, range,
       fmt::format("no progress in {} attempts; the last gave {}", kMaxStalls,
                   result < 0 ? describe_error(-result) : fmt::format("{} bytes", result)));
  return false;
}

/// Nothing read is the end. A short read is not: files end where fstat says, devices and file systems cut elsewhere
/// too.
bool DirectReader::file_ends_at(const FileRange& range, int result) const {
  if (result == 0) return true;
  struct stat status {};
  if (::fstat(files_[static_cast<std::size_t>(range.file)].descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    return false;
  }
  return range.offset + static_cast<unsigned>(result) >= static_cast<std::uint64_t>(status.st_size);
}

void DirectReader::fail(Job& job, const FileRange& range, const std::string& why) {
  if (job.report.failure) return;  // the first one tells
  job.report.failure = std::make_exception_ptr(MachineError(
      fmt::format("{}: io_uring read of {} bytes at offset {}: {}", files_[static_cast<std::size_t>(range.file)].path,
                  range.bytes.value, range.offset, why)));
}

void DirectReader::end_requests(Job& job, std::size_t count) {
  job.num_unfinished -= count;
  if (job.num_unfinished > 0) return;
  job.report.end = std::chrono::steady_clock::now();
  void* tag = job.report.tag;
  finished_.push_back(std::move(job.report));
  jobs_.erase(tag);
}

/// For jobs that end without a completion.
void DirectReader::wake() { ::eventfd_write(event_fd(), 1); }

}  // namespace reprefill::engine
