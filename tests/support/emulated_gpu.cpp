#include "tests/support/emulated_gpu.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "core/base/error.hpp"

namespace reprefill::test_support {
namespace {

using engine::GpuEvent;
using engine::GpuEventRef;

struct EmulatedEvent final : GpuEvent {
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now();
};

class EmulatedGpu final : public engine::Gpu {
 public:
  EmulatedGpu(Bytes memory, double clock_rate) : total_(memory), clock_rate_(clock_rate) {}
  ~EmulatedGpu() override {
    for (const auto& [data, size] : allocations_) std::free(data);
  }

  std::string name() const override { return "emulated GPU"; }
  Bytes total_memory() const override { return total_; }
  Bytes free_memory() const override {
    const std::lock_guard lock(mutex_);
    return Bytes{total_.value - used_};
  }

  std::byte* allocate(Bytes size) override {
    constexpr std::size_t kAlignment = 256;
    const std::size_t rounded = (std::max<std::size_t>(size.value, 1) + kAlignment - 1) / kAlignment * kAlignment;
    const std::lock_guard lock(mutex_);
    if (used_ + rounded > total_.value) throw MachineError("the emulated GPU is out of memory");
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
    std::memset(data, 0xff, rounded);
    allocations_[data] = rounded;
    used_ += rounded;
    return data;
  }
  void release(std::byte* data) noexcept override {
    const std::lock_guard lock(mutex_);
    const auto found = allocations_.find(data);
    if (found == allocations_.end()) std::abort();
    used_ -= found->second;
    allocations_.erase(found);
    std::free(data);
  }
  void pin(std::byte* data, Bytes size) override {
    const std::lock_guard lock(mutex_);
    if (!pinned_.emplace(data, size.value).second) throw MachineError("pinned twice");
  }
  void unpin(std::byte* data) noexcept override {
    const std::lock_guard lock(mutex_);
    if (pinned_.erase(data) == 0) std::abort();
  }
  bool can_read(const std::byte* data) const override {
    const std::lock_guard lock(mutex_);
    return holds(pinned_, data) || holds(allocations_, data);
  }

  cudaStream_t make_stream() override { return reinterpret_cast<cudaStream_t>(++num_streams_); }
  void destroy_stream(cudaStream_t) noexcept override {}
  void copy(void* to, const void* from, Bytes size, cudaStream_t) override { std::memcpy(to, from, size.value); }
  void zero(void* to, Bytes size, cudaStream_t) override { std::memset(to, 0, size.value); }
  void gather(const kernels::GatherPieces& pieces, cudaStream_t) override {
    for (std::uint32_t i = 0; i < pieces.num_pieces; ++i) {
      const kernels::GatherPiece& piece = pieces.pieces[i];
      if (!can_read(piece.from)) throw MachineError("gather from memory that is not pinned");
      std::memcpy(piece.to, piece.from, piece.bytes);
    }
  }
  void multiply(const engine::MatrixProduct& product, cudaStream_t) override;
  void tune(const engine::MatrixProduct&, std::span<const BFloat16* const>, cudaStream_t) override {}

  GpuEventRef record(cudaStream_t) override { return std::make_shared<EmulatedEvent>(); }
  void wait(cudaStream_t, const GpuEvent&) override {}
  void synchronize(const GpuEvent&) override {}
  void synchronize(cudaStream_t) override {}
  void synchronize_device() override {}
  Nanoseconds between(const GpuEvent& start, const GpuEvent& end) override {
    const std::chrono::duration<double, std::nano> distance =
        static_cast<const EmulatedEvent&>(end).at - static_cast<const EmulatedEvent&>(start).at;
    return Nanoseconds{std::llround(distance.count() * clock_rate_)};
  }

 private:
  static bool holds(const std::map<std::byte*, std::uint64_t>& ranges, const std::byte* data) {
    auto after = ranges.upper_bound(const_cast<std::byte*>(data));
    if (after == ranges.begin()) return false;
    --after;
    return data < after->first + after->second;
  }

  Bytes total_;
  double clock_rate_;
  mutable std::mutex mutex_;
  std::uint64_t used_ = 0;
  std::map<std::byte*, std::uint64_t> allocations_, pinned_;
  std::atomic<std::uintptr_t> num_streams_{0};
};

/// fp32 sums over eight interleaved parts: as a GPU, in an order of its own.
void EmulatedGpu::multiply(const engine::MatrixProduct& product, cudaStream_t) {
  std::vector<float> input(product.inputs), weights(product.inputs);
  for (std::uint32_t output = 0; output < product.outputs; ++output) {
    const BFloat16* column = product.weights + std::size_t{output} * product.inputs;
    for (std::uint32_t i = 0; i < product.inputs; ++i) weights[i] = column[i].widen();
    for (std::uint32_t row = 0; row < product.rows; ++row) {
      const BFloat16* from = product.input + std::size_t{row} * product.inputs;
      float parts[8] = {};
      std::uint32_t i = 0;
      for (; i + 8 <= product.inputs; i += 8) {
        for (std::uint32_t part = 0; part < 8; ++part) parts[part] += from[i + part].widen() * weights[i + part];
      }
      for (; i < product.inputs; ++i) parts[0] += from[i].widen() * weights[i];
      float sum = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
      const std::size_t at = std::size_t{row} * product.outputs + output;
      if (product.out_is_fp32) {
        static_cast<float*>(product.out)[at] = sum;
      } else {
        auto& out = static_cast<BFloat16*>(product.out)[at];
        out = BFloat16::round(product.adds ? out.widen() + sum : sum);
      }
    }
  }
}

}  // namespace

std::unique_ptr<engine::Gpu> make_emulated_gpu(Bytes memory, double clock_rate) {
  return std::make_unique<EmulatedGpu>(memory, clock_rate);
}

}  // namespace reprefill::test_support
