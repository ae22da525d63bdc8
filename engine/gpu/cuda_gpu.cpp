// CUDA's answer to gpu.hpp.
#include <cuda_runtime_api.h>

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "core/base/error.hpp"
#include "engine/gpu/device_check.hpp"
#include "engine/gpu/gpu.hpp"
#include "engine/gpu/matrix_products.hpp"
#include "kernels/base/cuda_check.hpp"
#include "kernels/base/kernel_error.hpp"

namespace reprefill::engine {
namespace {

struct CudaEvent final : GpuEvent {
  CudaEvent() { REPREFILL_CUDA(cudaEventCreate(&event)); }
  ~CudaEvent() override { cudaEventDestroy(event); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  cudaEvent_t event = nullptr;
};

cudaEvent_t handle_of(const GpuEvent& event) { return static_cast<const CudaEvent&>(event).event; }

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(int device) : device_(device) {
    use();
    REPREFILL_CUDA(cudaGetDeviceProperties(&properties_, device));
    products_ = std::make_unique<MatrixProducts>();
  }

  std::string name() const override { return properties_.name; }
  Bytes total_memory() const override { return Bytes{properties_.totalGlobalMem}; }
  Bytes free_memory() const override {
    use();
    std::size_t free = 0, total = 0;
    REPREFILL_CUDA(cudaMemGetInfo(&free, &total));
    return Bytes{free};
  }

  std::byte* allocate(Bytes size) override {
    use();
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, std::max<std::uint64_t>(size.value, 1));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw MachineError(
          fmt::format("{}: {} bytes of GPU memory are wanted, {} are free", name(), size.value, free_memory().value));
    }
    REPREFILL_CUDA(status);
    const std::lock_guard lock(mutex_);
    readable_[static_cast<std::byte*>(data)] = size.value;
    return static_cast<std::byte*>(data);
  }
  void release(std::byte* data) noexcept override {
    forget(data);
    cudaFree(data);
  }
  void pin(std::byte* data, Bytes size) override {
    use();
    if (size.value == 0) return;
    const cudaError_t status = cudaHostRegister(data, size.value, cudaHostRegisterDefault);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw MachineError(fmt::format(
          "cudaHostRegister: {} bytes of host memory cannot be locked; raise the limit with `ulimit -l {}` or set "
          "staging_bytes or host_cache_bytes lower",
          size.value, size.value / 1024 + 1024));
    }
    REPREFILL_CUDA(status);
    const std::lock_guard lock(mutex_);
    readable_[data] = size.value;
  }
  void unpin(std::byte* data) noexcept override {
    if (forget(data)) cudaHostUnregister(data);
  }
  bool can_read(const std::byte* data) const override {
    const std::lock_guard lock(mutex_);
    auto after = readable_.upper_bound(const_cast<std::byte*>(data));
    if (after == readable_.begin()) return false;
    --after;
    return data < after->first + after->second;
  }

  cudaStream_t make_stream() override {
    use();
    cudaStream_t stream = nullptr;
    REPREFILL_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
  }
  void destroy_stream(cudaStream_t stream) noexcept override { cudaStreamDestroy(stream); }
  void copy(void* to, const void* from, Bytes size, cudaStream_t stream) override {
    use();
    if (size.value == 0) return;
    REPREFILL_CUDA(cudaMemcpyAsync(to, from, size.value, cudaMemcpyDefault, stream));
  }
  void zero(void* to, Bytes size, cudaStream_t stream) override {
    use();
    if (size.value == 0) return;
    REPREFILL_CUDA(cudaMemsetAsync(to, 0, size.value, stream));
  }
  void gather(const kernels::GatherPieces& pieces, cudaStream_t stream) override {
    use();
    kernels::launch_gather_pieces(pieces, stream);
  }
  void multiply(const MatrixProduct& product, cudaStream_t stream) override {
    use();
    products_->run(product, stream);
  }
  void tune(const MatrixProduct& product, std::span<const BFloat16* const> weights, cudaStream_t stream) override {
    use();
    products_->tune(product, weights, stream);
  }

  GpuEventRef record(cudaStream_t stream) override {
    use();
    auto event = take_event();
    REPREFILL_CUDA(cudaEventRecord(event->event, stream));
    return event;
  }
  void wait(cudaStream_t stream, const GpuEvent& event) override {
    use();
    REPREFILL_CUDA(cudaStreamWaitEvent(stream, handle_of(event)));
  }
  void synchronize(const GpuEvent& event) override {
    use();
    REPREFILL_CUDA(cudaEventSynchronize(handle_of(event)));
  }
  void synchronize(cudaStream_t stream) override {
    use();
    REPREFILL_CUDA(cudaStreamSynchronize(stream));
  }
  void synchronize_device() override {
    use();
    REPREFILL_CUDA(cudaDeviceSynchronize());
  }
  Nanoseconds between(const GpuEvent& start, const GpuEvent& end) override {
    float milliseconds = 0;
    REPREFILL_CUDA(cudaEventElapsedTime(&milliseconds, handle_of(start), handle_of(end)));
    return nanoseconds_from_seconds(static_cast<double>(milliseconds) * 1e-3);
  }

 private:
  /// Events are made slowly and used by the thousand: they come back.
  struct EventPool {
    std::mutex mutex;
    std::vector<std::unique_ptr<CudaEvent>> free;
  };
  std::shared_ptr<CudaEvent> take_event() {
    std::unique_ptr<CudaEvent> event;
    {
      const std::lock_guard lock(events_->mutex);
      if (!events_->free.empty()) {
        event = std::move(events_->free.back());
        events_->free.pop_back();
      }
    }
    if (!event) event = std::make_unique<CudaEvent>();
    return {event.release(), [pool = events_](CudaEvent* used) {
              const std::lock_guard lock(pool->mutex);
              pool->free.emplace_back(used);
            }};
  }

  /// Each thread has a current device of its own.
  void use() const {
    thread_local int current = -1;
    if (current == device_) return;
    REPREFILL_CUDA(cudaSetDevice(device_));
    current = device_;
  }
  bool forget(std::byte* data) noexcept {
    const std::lock_guard lock(mutex_);
    return readable_.erase(data) > 0;
  }

  int device_;
  cudaDeviceProp properties_{};
  std::unique_ptr<MatrixProducts> products_;
  std::shared_ptr<EventPool> events_ = std::make_shared<EventPool>();
  mutable std::mutex mutex_;
  std::map<std::byte*, std::uint64_t> readable_;  // what kernels may read, and its size
};

}  // namespace

std::unique_ptr<Gpu> open_gpu(int device) {
  GpuFacts facts;
  const cudaError_t status = cudaGetDeviceCount(&facts.num_devices);
  facts.driver_is_too_old = status == cudaErrorInsufficientDriver;
  if (status == cudaErrorNoDevice) facts.num_devices = 0;
  if (status != cudaErrorNoDevice && !facts.driver_is_too_old) REPREFILL_CUDA(status);
  cudaDriverGetVersion(&facts.driver_version);  // 0 where there is no driver
  REPREFILL_CUDA(cudaRuntimeGetVersion(&facts.runtime_version));
  check_gpus(facts, device);
  cudaDeviceProp properties{};
  REPREFILL_CUDA(cudaGetDeviceProperties(&properties, device));
  facts.name = properties.name;
  facts.compute_major = properties.major;
  facts.compute_minor = properties.minor;
  check_architecture(facts);
  return std::make_unique<CudaGpu>(device);
}

}  // namespace reprefill::engine
