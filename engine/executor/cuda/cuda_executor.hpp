// The forward pass on a GPU: weights in its memory as bf16, our kernels between its matrix products.
#pragma once

#include "engine/executor/executor.hpp"
#include "engine/gpu/gpu.hpp"

namespace reprefill::engine {

/// What the executor itself takes of a GPU's memory; sequences and the tiers of a machine come on top.
struct GpuMemoryPlan {
  Bytes weights;
  Bytes activations;  // of one block of prefill
};
GpuMemoryPlan plan_gpu_memory(const Checkpoint& checkpoint);

/// Same results as the CPU executor but for rounding: hidden states and activations are bf16 between operations, as in
/// Hugging Face transformers. Bit-identical from run to run within one process.
/// Everything is submitted to one stream. Throws ConfigError for shapes that the kernels do not have (head_dim other
/// than 64 and 128) and, with the plan's numbers, where the weights do not fit.
class CudaExecutor final : public Executor {
 public:
  CudaExecutor(const Checkpoint& checkpoint, std::unique_ptr<Gpu> gpu);
  ~CudaExecutor() override;

  std::unique_ptr<Sequence> begin(std::span<const std::int32_t> own_ids, std::uint32_t first_position,
                                  PositionGap gap) override;
  using Executor::begin;
  void project(Sequence& sequence, int layer_idx, OwnRange range) override;
  void score(Sequence& sequence, int layer_idx, const KeyView& keys, const ScoreShape& shape,
             std::span<float> out) override;
  void attend(Sequence& sequence, int layer_idx, OwnRange range, const KvView& view) override;
  void next_token(Sequence& sequence, std::int32_t& id) override;
  void decode(Sequence& sequence, std::int32_t id, std::span<const KvView> views, std::int32_t& next_id) override;
  void last_logits(const Sequence& sequence, std::span<float> out) override;
  void rewind(Sequence& sequence, std::uint32_t num_own_tokens) override;
  OwnKvBytes own_kv(const Sequence& sequence, int layer_idx, OwnRange range) override;
  void copy_own_kv(const Sequence& sequence, int layer_idx, OwnRange range, std::span<std::byte> keys,
                   std::span<std::byte> values) override;
  void synchronize() override;
  std::shared_ptr<const std::byte> upload(std::span<const std::byte> host) override;
  std::shared_ptr<std::byte> host_buffer(Bytes size) override;
  Gpu* gpu() override;
  cudaStream_t stream() const override;
  const Checkpoint& checkpoint() const override;
  KvType kv_type() const override { return KvType::bf16; }
  std::string describe() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reprefill::engine
