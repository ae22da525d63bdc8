// Memory and streams of a GPU that go back to it when they are let go.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "engine/gpu/gpu.hpp"

namespace reprefill::engine {

/// One allocation, for `count` elements of T.
template <typename T>
class GpuArray {
 public:
  GpuArray() = default;
  GpuArray(Gpu& gpu, std::size_t count)
      : gpu_(&gpu), data_(reinterpret_cast<T*>(gpu.allocate(Bytes{count * sizeof(T)}))), count_(count) {}
  GpuArray(GpuArray&& other) noexcept { swap(other); }
  GpuArray& operator=(GpuArray&& other) noexcept {
    swap(other);
    return *this;
  }
  ~GpuArray() {
    if (data_ != nullptr) gpu_->release(reinterpret_cast<std::byte*>(data_));
  }
  T* data() const { return data_; }
  std::size_t size() const { return count_; }

 private:
  void swap(GpuArray& other) noexcept {
    std::swap(gpu_, other.gpu_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }
  Gpu* gpu_ = nullptr;
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

/// A stream of its own.
class GpuStream {
 public:
  GpuStream() = default;
  explicit GpuStream(Gpu& gpu) : gpu_(&gpu), stream_(gpu.make_stream()) {}
  GpuStream(GpuStream&& other) noexcept { swap(other); }
  GpuStream& operator=(GpuStream&& other) noexcept {
    GpuStream(std::move(other)).swap(*this);
    return *this;
  }
  ~GpuStream() {
    if (stream_ != nullptr) gpu_->destroy_stream(stream_);
  }
  operator cudaStream_t() const { return stream_; }  // implicit: calls take streams

 private:
  void swap(GpuStream& other) noexcept {
    std::swap(gpu_, other.gpu_);
    std::swap(stream_, other.stream_);
  }
  Gpu* gpu_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

/// Pinned host memory.
class PinnedArray {
 public:
  PinnedArray() = default;
  PinnedArray(Gpu& gpu, Bytes size);
  PinnedArray(PinnedArray&& other) noexcept { swap(other); }
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    swap(other);
    return *this;
  }
  ~PinnedArray();
  std::byte* data() const { return data_; }
  Bytes size() const { return size_; }

 private:
  void swap(PinnedArray& other) noexcept {
    std::swap(gpu_, other.gpu_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  Gpu* gpu_ = nullptr;
  std::byte* data_ = nullptr;
  Bytes size_;
};

/// Blocks of device or pinned memory that are used again: sizes are rounded up to powers of two. A block may be handed
/// out while work on it is still queued, so all its users share one stream, or have seen its work done. Thread-safe.
class GpuBlockCache {
 public:
  enum class Kind : std::uint8_t { device, pinned };
  GpuBlockCache(Gpu& gpu, Kind kind) : gpu_(gpu), kind_(kind) {}
  GpuBlockCache(const GpuBlockCache&) = delete;
  GpuBlockCache& operator=(const GpuBlockCache&) = delete;

  /// Goes back to the cache, which must outlive it.
  std::shared_ptr<std::byte> take(Bytes size);

 private:
  Gpu& gpu_;
  Kind kind_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::vector<std::byte*>> free_;  // by size
  std::vector<GpuArray<std::byte>> device_;
  std::vector<PinnedArray> pinned_;
};

/// Small arrays on their way to the device: written on the host, copied on a stream of their own, so that no kernel
/// waits for the copy engine once they are there; used by what is submitted to `stream` before a quarter of the slots
/// follow. One thread.
class UploadRing {
 public:
  UploadRing(Gpu& gpu, cudaStream_t stream) : gpu_(gpu), stream_(stream), copies_(gpu), slots_(kNumSlots) {}

  /// Host memory to fill; `send` copies it and gives its place on the device.
  std::byte* begin(Bytes size);
  std::byte* send();

 private:
  static constexpr std::size_t kQuarterSlots = 16;
  static constexpr std::size_t kNumSlots = 4 * kQuarterSlots;
  struct Slot {
    PinnedArray host;
    GpuArray<std::byte> device;
    GpuEventRef sent;
  };
  void note_use();

  Gpu& gpu_;
  cudaStream_t stream_;
  GpuStream copies_;
  std::vector<Slot> slots_;
  std::array<GpuEventRef, 4> used_;  // after the last use of what a quarter of the slots held
  std::size_t next_ = 0;
  Bytes size_;
};

}  // namespace reprefill::engine
