// The executor that a user asks for.
#pragma once

#include "engine/executor/cpu/cpu_executor.hpp"

namespace reprefill::engine {

enum class ExecutorDevice : std::uint8_t { cpu, cuda };

struct ExecutorOptions {
  ExecutorDevice device = ExecutorDevice::cpu;
  CpuExecutorOptions cpu = {};
  int gpu_index = 0;
};

/// Whether this program was built with CUDA.
bool has_cuda();

/// Throws ConfigError: this build has no CUDA, or the GPU's kernels lack something that is asked for. MachineError: no
/// GPU.
std::unique_ptr<Executor> open_executor(const Checkpoint& checkpoint, const ExecutorOptions& options);

}  // namespace reprefill::engine
