// Times work on a GPU: launches captured in a graph, whose replays are timed by events.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace reprefill::benchmarks {

struct Timing {
  double median_us = 0, p10_us = 0, p90_us = 0;
  std::size_t num_samples = 0;
};

/// What a case moves and computes at least: for the achieved rates beside its time.
struct Work {
  double bytes = 0;
  double flops = 0;
};

/// Device memory (or pinned host memory) with a fixed pattern of normal bf16 values: zeros would flatter.
class Buffer {
 public:
  enum class Kind { device, pinned_host };
  explicit Buffer(std::size_t num_bytes, Kind kind = Kind::device);
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(memory_.get());
  }
  std::size_t num_bytes() const { return num_bytes_; }
  void write(const void* from, std::size_t num_bytes);
  void clear();

 private:
  std::unique_ptr<std::byte, void (*)(std::byte*)> memory_;
  std::size_t num_bytes_;
};

/// A device array of these values.
template <typename T>
Buffer upload(std::span<const T> values) {
  Buffer buffer(values.size_bytes());
  buffer.write(values.data(), values.size_bytes());
  return buffer;
}

/// Buffers are rotated over more than this: twice an H100's second-level cache.
inline constexpr std::size_t kRotatedBytes = 128u << 20;
std::size_t num_sets_for(std::size_t bytes_per_set);

/// Enqueues one run with the buffers of set `set_idx`.
using Launch = std::function<void(std::size_t set_idx, cudaStream_t stream)>;

class GraphTimer {
 public:
  GraphTimer();
  ~GraphTimer();
  GraphTimer(const GraphTimer&) = delete;
  GraphTimer& operator=(const GraphTimer&) = delete;

  /// Time of one run: a graph of at least 20 runs over all sets, replayed until 30 samples and 0.2 s.
  Timing time(std::size_t num_sets, const Launch& launch);
  /// The same without a graph, for calls that cannot be captured.
  Timing time_on_stream(std::size_t num_sets, const Launch& launch);

 private:
  Timing sample(std::size_t runs_per_sample, const std::function<void()>& enqueue);
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

void print_header();
void print_row(const std::string& kernel, const std::string& shape, const Timing& timing, const Work& work);

}  // namespace reprefill::benchmarks
