// Scores by digest for an executor on a GPU, which has no kernel for them: what they need comes to host memory.
#pragma once

#include <optional>

#include "engine/executor/cpu/digest_score.hpp"
#include "engine/executor/head_groups.hpp"
#include "engine/gpu/gpu.hpp"

namespace reprefill::engine {

/// Own tokens of one layer in device memory, [count][heads][head_dim].
struct DeviceRows {
  const BFloat16* queries = nullptr;
  const BFloat16* keys = nullptr;
  std::uint32_t count = 0;
};

class HostDigestScore {
 public:
  HostDigestScore(Gpu& gpu, const ModelGeometry& geometry) : gpu_(gpu), geometry_(geometry) {}

  /// As Executor::score. Waits for the stream; `out` is filled when it returns.
  void score(const DeviceRows& own, const KeyView& digests, const ScoreShape& shape, float scale, cudaStream_t stream,
             std::span<float> out);

 private:
  std::vector<float> widen(const BFloat16* from, std::size_t count, cudaStream_t stream);

  Gpu& gpu_;
  const ModelGeometry& geometry_;
  std::optional<WorkerPool> pool_;  // threads only where a digest is scored
};

}  // namespace reprefill::engine
