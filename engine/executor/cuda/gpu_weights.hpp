// A checkpoint's weights in GPU memory, bf16, with the products that share an input side by side.
#pragma once

#include <vector>

#include "engine/checkpoint/checkpoint.hpp"
#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::engine {

struct GpuLayerWeights {
  const BFloat16* input_norm = nullptr;  // [hidden]
  const BFloat16* post_attention_norm = nullptr;
  const BFloat16* qkv = nullptr;       // [(query heads + 2 KV heads) * head_dim][hidden]
  const BFloat16* qkv_bias = nullptr;  // one row of outputs
  const BFloat16* output = nullptr;    // [hidden][query heads * head_dim]
  const BFloat16* gate_up = nullptr;   // [2 * intermediate][hidden]: gate, then up
  const BFloat16* down = nullptr;      // [hidden][intermediate]
};

class GpuWeights {
 public:
  /// One allocation; copied through two pinned buffers, so that reading the files and copying overlap. Weights of
  /// other types are rounded to bf16.
  GpuWeights(Gpu& gpu, const Checkpoint& checkpoint);
  static Bytes size(const Checkpoint& checkpoint);

  const GpuLayerWeights& layer(int layer_idx) const { return layers_[static_cast<std::size_t>(layer_idx)]; }
  const BFloat16* embedding() const { return embedding_; }  // [vocab][hidden]
  const BFloat16* final_norm() const { return final_norm_; }
  const BFloat16* lm_head() const { return lm_head_; }  // the embedding where they are tied

 private:
  class Loader;
  GpuArray<std::byte> memory_;
  std::vector<GpuLayerWeights> layers_;
  const BFloat16* embedding_ = nullptr;
  const BFloat16* final_norm_ = nullptr;
  const BFloat16* lm_head_ = nullptr;
};

}  // namespace reprefill::engine
