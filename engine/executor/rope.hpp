// Rotary position embedding as Hugging Face transformers computes it for Qwen2 (rotate-half), with or without YaRN.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/checkpoint/checkpoint.hpp"

namespace reprefill::engine {

/// Angles per position: transformers rounds the inverse frequencies to fp32 and multiplies in fp32, and so do we; at
/// position 30,000 exact angles would differ from the trained model's by 1e-3.
class Rope {
 public:
  explicit Rope(const DecoderConfig& config);

  int half_dim() const { return static_cast<int>(inverse_frequencies_.size()); }
  std::span<const float> inverse_frequencies() const { return inverse_frequencies_; }
  /// Cosines and sines are multiplied by this: YaRN's attention scaling, else 1.
  float attention_scaling() const { return attention_scaling_; }

  /// cosines and sines of one position: [half_dim] each.
  void angles(std::uint32_t position, std::span<float> cosines, std::span<float> sines) const;

 private:
  std::vector<float> inverse_frequencies_;
  float attention_scaling_ = 1;
};

/// Rotates one head in place: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), where x1 and x2 are its halves.
void rotate_half(float* head, std::span<const float> cosines, std::span<const float> sines);

}  // namespace reprefill::engine
