#include "tests/support/failing_gpu.hpp"

#include "core/base/error.hpp"

namespace reprefill::test_support {
namespace {

using engine::GpuEvent;
using engine::GpuEventRef;

class FailingGpu final : public engine::Gpu {
 public:
  FailingGpu(std::unique_ptr<Gpu> gpu, std::shared_ptr<GpuAccount> account)
      : gpu_(std::move(gpu)), account_(std::move(account)) {}

  std::string name() const override { return gpu_->name(); }
  Bytes total_memory() const override { return gpu_->total_memory(); }
  Bytes free_memory() const override { return count().free_memory(); }

  std::byte* allocate(Bytes size) override {
    std::byte* data = count().allocate(size);
    ++account_->allocations;
    return data;
  }
  void release(std::byte* data) noexcept override {
    --account_->allocations;
    gpu_->release(data);
  }
  void pin(std::byte* data, Bytes size) override {
    count().pin(data, size);
    ++account_->pinned;
  }
  void unpin(std::byte* data) noexcept override {
    --account_->pinned;
    gpu_->unpin(data);
  }
  bool can_read(const std::byte* data) const override { return gpu_->can_read(data); }

  cudaStream_t make_stream() override {
    cudaStream_t stream = count().make_stream();
    ++account_->streams;
    return stream;
  }
  void destroy_stream(cudaStream_t stream) noexcept override {
    --account_->streams;
    gpu_->destroy_stream(stream);
  }
  void copy(void* to, const void* from, Bytes size, cudaStream_t stream) override {
    count().copy(to, from, size, stream);
  }
  void zero(void* to, Bytes size, cudaStream_t stream) override { count().zero(to, size, stream); }
  void gather(const kernels::GatherPieces& pieces, cudaStream_t stream) override { count().gather(pieces, stream); }
  void multiply(const engine::MatrixProduct& product, cudaStream_t stream) override {
    count().multiply(product, stream);
  }
  void tune(const engine::MatrixProduct& product, std::span<const BFloat16* const> weights,
            cudaStream_t stream) override {
    count().tune(product, weights, stream);
  }

  GpuEventRef record(cudaStream_t stream) override { return count().record(stream); }
  void wait(cudaStream_t stream, const GpuEvent& event) override { count().wait(stream, event); }
  void synchronize(const GpuEvent& event) override { count().synchronize(event); }
  void synchronize(cudaStream_t stream) override { count().synchronize(stream); }
  void synchronize_device() override { count().synchronize_device(); }
  Nanoseconds between(const GpuEvent& start, const GpuEvent& end) override { return count().between(start, end); }

 private:
  Gpu& count() const {
    const std::int64_t number = account_->calls++;
    const std::int64_t first = account_->fail_at;
    if (first >= 0 && number >= first) throw MachineError("an illegal memory access was encountered (injected)");
    return *gpu_;
  }

  std::unique_ptr<Gpu> gpu_;
  std::shared_ptr<GpuAccount> account_;
};

}  // namespace

std::unique_ptr<engine::Gpu> make_failing_gpu(std::unique_ptr<engine::Gpu> gpu, std::shared_ptr<GpuAccount> account) {
  return std::make_unique<FailingGpu>(std::move(gpu), std::move(account));
}

}  // namespace reprefill::test_support
