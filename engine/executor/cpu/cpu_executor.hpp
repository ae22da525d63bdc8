// The forward pass on the CPU: also the numerical reference of the CUDA executor.
#pragma once

#include "engine/executor/executor.hpp"

namespace reprefill::engine {

struct CpuExecutorOptions {
  int num_threads = 0;  // 0: the cores that this process may use
  KvType kv_type = KvType::bf16;
  Bytes weight_cache{std::uint64_t{4} << 30};  // widened fp32 copies of weights are kept while they fit
};

/// Not thread-safe: one thread calls; the executor spreads the work over its own, and sets the BLAS of the process to
/// one thread. On one machine results are bit-identical from run to run, for any number of threads, any weight cache,
/// any blocks of prefill, and any split of a fully kept prefix into stored and own tokens. `decode` and `logits` of the
/// last token sum in another order than `project`, `attend` and `logits` of a range.
class CpuExecutor final : public Executor {
 public:
  CpuExecutor(const Checkpoint& checkpoint, const CpuExecutorOptions& options);
  ~CpuExecutor() override;

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
  void synchronize() override {}
  std::shared_ptr<const std::byte> upload(std::span<const std::byte> host) override;
  std::shared_ptr<std::byte> host_buffer(Bytes size) override;
  Gpu* gpu() override { return nullptr; }
  cudaStream_t stream() const override { return nullptr; }
  const Checkpoint& checkpoint() const override;
  KvType kv_type() const override;
  std::string describe() const override;

  /// Logits of every own token in the range, [count][vocab], by the products of a range instead of a single row's.
  void logits(Sequence& sequence, OwnRange range, std::span<float> out);
  int num_threads() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reprefill::engine
