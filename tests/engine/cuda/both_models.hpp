// One tiny model, opened for the CPU and for the tests' GPU.
#pragma once

#include "engine/executor/cuda/cuda_executor.hpp"
#include "tests/engine/session/session_fixture.hpp"
#include "tests/support/test_gpu.hpp"

namespace reprefill::engine::test_support {

/// As many bytes a token as the CPU's small model, in a shape that the kernels have.
inline reprefill::test_support::TinyCheckpoint gpu_checkpoint() {
  reprefill::test_support::TinyCheckpoint shape = small_checkpoint();
  shape.num_query_heads = 8;
  shape.num_kv_heads = 1;
  shape.head_dim = 64;
  return shape;
}

/// The same folder opened for both executors; the CPU's builds the stores.
class BothModels {
 public:
  BothModels() : cpu(gpu_checkpoint()) {
    std::unique_ptr<Gpu> device = reprefill::test_support::make_test_gpu();
    if (!device) return;
    gpu.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(cpu.folder()));
    gpu.tokenizer = std::make_unique<Tokenizer>(Tokenizer::open(cpu.folder() / "tokenizer.json"));
    gpu.executor = std::make_unique<CudaExecutor>(*gpu.checkpoint, std::move(device));
  }
  SmallModel cpu;
  Model gpu;
};

}  // namespace reprefill::engine::test_support
