// What DirectReader asks of the kernel: the seam where tests shorten, delay, reorder and fail reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace reprefill::engine {

struct RingRead {
  std::uint64_t tag = 0;  // comes back with the completion
  int file = 0;
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  std::byte* destination = nullptr;
};

struct RingCompletion {
  std::uint64_t tag = 0;
  int result = 0;  // bytes read, or an errno, negative
};

/// As io_uring: reads are prepared, handed over together, and complete in any order. One thread calls everything.
class ReadRing {
 public:
  virtual ~ReadRing() = default;

  /// Files are numbered from 0 in the order of these calls.
  virtual void add_file(int descriptor) = 0;
  /// The caller keeps to the depth that the ring was made for, counted from here to the completion.
  virtual void prepare(const RingRead& read) = 0;
  virtual std::size_t num_prepared() const = 0;
  /// Hands over what is prepared: how many were taken, or an errno, negative.
  virtual int submit() = 0;
  /// The next completion there is. Never blocks.
  virtual std::optional<RingCompletion> next_completion() = 0;
  /// Blocks until there is one.
  virtual void wait() = 0;
  /// An eventfd that counts completions.
  virtual int event_fd() const = 0;
  /// "registered files, registered buffers".
  virtual std::string describe() const = 0;
};

struct RingOptions {
  std::uint32_t depth = 128;
  std::span<std::byte> buffers = {};
  bool unregistered_buffers = false;
  std::uint32_t max_files = 1 << 16;
};

/// io_uring. Throws MachineError where it is not to be had, or locked memory too little: with the limit and what to do.
std::unique_ptr<ReadRing> make_uring(const RingOptions& options);

}  // namespace reprefill::engine
