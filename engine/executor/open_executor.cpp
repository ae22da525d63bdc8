#include "engine/executor/open_executor.hpp"

#include "core/base/error.hpp"
#ifdef REPREFILL_CUDA
#include "engine/executor/cuda/cuda_executor.hpp"
#endif

namespace reprefill::engine {

bool has_cuda() {
#ifdef REPREFILL_CUDA
  return true;
#else
  return false;
#endif
}

std::unique_ptr<Executor> open_executor(const Checkpoint& checkpoint, const ExecutorOptions& options) {
  if (options.device == ExecutorDevice::cpu) return std::make_unique<CpuExecutor>(checkpoint, options.cpu);
  if (options.cpu.kv_type != KvType::bf16) throw ConfigError("--kv-dtype: the GPU executor has bf16 only");
#ifdef REPREFILL_CUDA
  return std::make_unique<CudaExecutor>(checkpoint, open_gpu(options.gpu_index));
#else
  throw ConfigError("--device cuda: this program was built without CUDA; configure it with -DREPREFILL_CUDA=ON");
#endif
}

}  // namespace reprefill::engine
