// A GPU that fails at a chosen call and from then on, as a device with an error in flight does, and counts what was
// taken of it.
#pragma once

#include <atomic>
#include <memory>

#include "engine/gpu/gpu.hpp"

namespace reprefill::test_support {

/// Outlives the GPU: what it still held when it went.
struct GpuAccount {
  std::atomic<std::int64_t> calls{0};     // that may fail
  std::atomic<std::int64_t> fail_at{-1};  // number of the first call that does, from 0; negative: none
  std::atomic<int> allocations{0}, pinned{0}, streams{0};
  bool holds_nothing() const { return allocations == 0 && pinned == 0 && streams == 0; }
};

std::unique_ptr<engine::Gpu> make_failing_gpu(std::unique_ptr<engine::Gpu> gpu, std::shared_ptr<GpuAccount> account);

}  // namespace reprefill::test_support
