#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/base/error.hpp"
#include "engine/io/read_ring.hpp"

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
  } else if (error == ENOMEM) {
    hint = "; kernels before 5.12 count the rings as locked memory: raise `ulimit -l` or set queue_depth lower";
  }
  throw MachineError(fmt::format("{}: {}{}", call, std::strerror(error), hint));
}

/// Registered buffers count against RLIMIT_MEMLOCK of the user on every kernel; root and CAP_IPC_LOCK are exempt. Plain
/// reads pin their pages too, but are not counted.
[[noreturn]] void throw_memlock(std::size_t wanted_bytes, int error) {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string allowed = limit.rlim_cur == RLIM_INFINITY ? "none" : fmt::format("{} KiB", limit.rlim_cur / 1024);
  throw MachineError(fmt::format(
      "io_uring_register_buffers: {}: {} KiB of staging must be locked; the limit (ulimit -l) is {}, shared by all "
      "processes of the user. Raise it with `ulimit -l {}`, LimitMEMLOCK= of a systemd unit or memlock in "
      "/etc/security/limits.conf; or set staging_bytes lower, or do without locked memory: --unregistered-buffers",
      std::strerror(error), wanted_bytes / 1024, allowed, wanted_bytes / 1024 + 1024));
}

class Uring final : public ReadRing {
 public:
  explicit Uring(const RingOptions& options) : max_files_(options.max_files) {
    io_uring_params params{};
    const int error = io_uring_queue_init_params(std::max(2u, options.depth), &ring_, &params);
    if (error < 0) throw_setup("io_uring_queue_init", -error);
    event_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    try {
      if (event_fd_ < 0) throw_setup("eventfd", errno);
      if (const int registered = io_uring_register_eventfd(&ring_, event_fd_); registered < 0) {
        throw_setup("io_uring_register_eventfd", -registered);
      }
      if (!options.unregistered_buffers) register_buffers(options.buffers);
      register_files();
    } catch (...) {
      close();
      throw;
    }
  }
  ~Uring() override { close(); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  void add_file(int descriptor) override {
    if (files_registered_) {
      if (descriptors_.size() == max_files_) {
        throw MachineError(
            fmt::format("more than {} open files: raise the limit of open files (ulimit -n)", max_files_));
      }
      int updated = descriptor;
      const int error = io_uring_register_files_update(&ring_, static_cast<unsigned>(descriptors_.size()), &updated, 1);
      if (error < 0) throw_setup("io_uring_register_files_update", -error);
    }
    descriptors_.push_back(descriptor);
  }

  void prepare(const RingRead& read) override {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    REPREFILL_CHECK(entry != nullptr, "more reads are prepared than the ring has room for");
    const int file = files_registered_ ? read.file : descriptors_[static_cast<std::size_t>(read.file)];
    // A read that crosses from one registered piece into the next goes unregistered.
    const int buffer = buffer_of(read.destination);
    if (buffer >= 0 && read.bytes > 0 && buffer == buffer_of(read.destination + read.bytes - 1)) {
      io_uring_prep_read_fixed(entry, file, read.destination, read.bytes, read.offset, buffer);
    } else {
      io_uring_prep_read(entry, file, read.destination, read.bytes, read.offset);
    }
    if (files_registered_) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, read.tag);
  }

  std::size_t num_prepared() const override { return io_uring_sq_ready(&ring_); }
  int submit() override { return io_uring_submit(&ring_); }

  std::optional<RingCompletion> next_completion() override {
    io_uring_cqe* entry = nullptr;
    if (io_uring_peek_cqe(&ring_, &entry) != 0) return std::nullopt;
    const RingCompletion completion{.tag = io_uring_cqe_get_data64(entry), .result = entry->res};
    io_uring_cqe_seen(&ring_, entry);
    return completion;
  }

  void wait() override {
    io_uring_cqe* entry = nullptr;
    while (io_uring_wait_cqe(&ring_, &entry) < 0) {}
  }

  int event_fd() const override { return event_fd_; }
  std::string describe() const override {
    return fmt::format("{} files{}, {} buffers", files_registered_ ? "registered" : "unregistered",
                       files_registered_ ? "" : " (the kernel is older than 5.19)",
                       registered_.empty() ? "unregistered" : "registered");
  }

 private:
  void register_buffers(std::span<std::byte> buffers) {
    if (buffers.empty()) return;
    std::vector<iovec> pieces;
    for (std::size_t at = 0; at < buffers.size(); at += kMaxBufferBytes) {
      pieces.push_back({buffers.data() + at, std::min(kMaxBufferBytes, buffers.size() - at)});
    }
    const int error = io_uring_register_buffers(&ring_, pieces.data(), static_cast<unsigned>(pieces.size()));
    if (error == -ENOMEM || error == -EPERM) throw_memlock(buffers.size(), -error);
    if (error < 0) throw_setup("io_uring_register_buffers", -error);
    registered_ = buffers;
  }

  /// The table may be no larger than the process's limit of open files. Kernels before 5.19 refuse an empty one as
  /// EINVAL: plain descriptors do there, at a little more cost per read.
  void register_files() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    max_files_ = static_cast<std::uint32_t>(std::min<rlim_t>(max_files_, limit.rlim_cur));
    const int error = io_uring_register_files_sparse(&ring_, max_files_);
    if (error < 0 && error != -EINVAL) throw_setup("io_uring_register_files", -error);
    files_registered_ = error >= 0;
  }

  int buffer_of(const std::byte* data) const {
    if (registered_.empty() || data < registered_.data() || data >= registered_.data() + registered_.size()) return -1;
    return static_cast<int>(static_cast<std::size_t>(data - registered_.data()) / kMaxBufferBytes);
  }

  void close() {
    io_uring_queue_exit(&ring_);
    if (event_fd_ >= 0) ::close(event_fd_);
  }

  io_uring ring_{};
  int event_fd_ = -1;
  std::uint32_t max_files_;
  std::span<std::byte> registered_;
  bool files_registered_ = false;
  std::vector<int> descriptors_;
};

}  // namespace

std::unique_ptr<ReadRing> make_uring(const RingOptions& options) { return std::make_unique<Uring>(options); }

}  // namespace reprefill::engine
