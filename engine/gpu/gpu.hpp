// What the engine asks of a GPU besides its kernels: memory, streams, events, copies, matrix products. CUDA answers it
// (cuda_gpu.cpp); tests answer it on the CPU (tests/support/emulated_gpu.hpp), so that everything above runs in CI.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "core/base/bfloat16.hpp"
#include "core/base/units.hpp"
#include "kernels/base/stream.hpp"
#include "kernels/gather_pieces/gather_pieces.hpp"

namespace reprefill::engine {

/// A point of a stream, once `record` has been called.
class GpuEvent {
 public:
  virtual ~GpuEvent() = default;
};
using GpuEventRef = std::shared_ptr<GpuEvent>;

/// out = input * weights^T, or out += it: [rows][outputs] of [rows][inputs] and [outputs][inputs], fp32 sums.
struct MatrixProduct {
  const BFloat16* weights = nullptr;
  const BFloat16* input = nullptr;
  void* out = nullptr;
  bool out_is_fp32 = false;  // else bf16
  bool adds = false;         // bf16 only
  std::uint32_t rows = 0;
  std::uint32_t inputs = 0;
  std::uint32_t outputs = 0;
};

/// Thread-safe but for streams: one thread at a time submits to a stream. Every call throws MachineError when the
/// device fails; after that every further call does.
class Gpu {
 public:
  virtual ~Gpu() = default;
  virtual std::string name() const = 0;
  virtual Bytes total_memory() const = 0;
  virtual Bytes free_memory() const = 0;

  /// Aligned to 256 bytes. Slow: for pools and what lives long.
  virtual std::byte* allocate(Bytes size) = 0;
  virtual void release(std::byte* data) noexcept = 0;
  /// Makes host memory visible to the device and its copies asynchronous.
  virtual void pin(std::byte* data, Bytes size) = 0;
  virtual void unpin(std::byte* data) noexcept = 0;
  /// Whether kernels may read it: pinned, or the device's own.
  virtual bool can_read(const std::byte* data) const = 0;

  virtual cudaStream_t make_stream() = 0;
  virtual void destroy_stream(cudaStream_t stream) noexcept = 0;
  /// Between host and device, or inside either. From or to host memory that is not pinned the host waits.
  virtual void copy(void* to, const void* from, Bytes size, cudaStream_t stream) = 0;
  virtual void zero(void* to, Bytes size, cudaStream_t stream) = 0;
  virtual void gather(const kernels::GatherPieces& pieces, cudaStream_t stream) = 0;
  virtual void multiply(const MatrixProduct& product, cudaStream_t stream) = 0;

  /// Looks for the fastest way to compute products of this shape, with up to these many rows; what `out` holds is lost.
  /// `weights`: different ones of that shape, so that none is in a cache from the run before.
  virtual void tune(const MatrixProduct& product, std::span<const BFloat16* const> weights, cudaStream_t stream) = 0;

  virtual GpuEventRef record(cudaStream_t stream) = 0;
  /// What is submitted to `stream` from now on runs after the event.
  virtual void wait(cudaStream_t stream, const GpuEvent& event) = 0;
  virtual void synchronize(const GpuEvent& event) = 0;
  virtual void synchronize(cudaStream_t stream) = 0;
  virtual void synchronize_device() = 0;
  /// Both have been reached.
  virtual Nanoseconds between(const GpuEvent& start, const GpuEvent& end) = 0;
};

/// A GPU of this machine. Throws MachineError: no device, one that is too old, a driver older than the toolkit.
std::unique_ptr<Gpu> open_gpu(int device);

}  // namespace reprefill::engine
