// A Qwen2 or Qwen2.5 checkpoint as published on Hugging Face: config.json and .safetensors, memory-mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/model/geometry.hpp"

namespace reprefill::engine {

enum class ElementType : std::uint8_t { bf16, fp16, fp32 };

/// A matrix [rows][columns] (a vector: one row) inside a mapped file. Row-major as published: a linear layer's weight
/// is [outputs][inputs]. Lives as long as its Checkpoint.
struct WeightView {
  const std::byte* data = nullptr;
  ElementType type = ElementType::bf16;
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  std::size_t bytes() const;
};

struct LayerWeights {
  WeightView input_norm, post_attention_norm;         // [1][hidden]
  WeightView q_weight, k_weight, v_weight, o_weight;  // q: [heads * head_dim][hidden], o: [hidden][heads * head_dim]
  WeightView q_bias, k_bias, v_bias;                  // [1][heads * head_dim]
  WeightView gate_weight, up_weight, down_weight;     // [intermediate][hidden] twice, [hidden][intermediate]
};

/// YaRN (Peng et al. 2023, arXiv 2309.00071) as transformers computes it for Qwen2.
struct YarnScaling {
  double factor = 1;
  std::uint32_t original_max_positions = 32768;
  double beta_fast = 32;
  double beta_slow = 1;
  std::optional<double> attention_factor;  // null: 0.1 ln(factor) + 1
};

/// What config.json says beyond the geometry.
struct DecoderConfig {
  ModelGeometry geometry;
  double rms_norm_eps = 1e-6;
  double rope_theta = 1e6;
  std::optional<YarnScaling> yarn;
  std::uint32_t max_positions = 0;  // with YaRN: factor * original_max_positions
  std::vector<std::int32_t> end_of_sequence_ids;
};

/// Throws ConfigError naming file, key, what was found and what is allowed.
DecoderConfig read_decoder_config(const std::filesystem::path& config_json);

class Checkpoint {
 public:
  /// Opens the folder: config.json, then model.safetensors or the shards of model.safetensors.index.json. Every name
  /// and shape is checked against the configuration before use. Throws ConfigError naming the file and the tensor.
  static Checkpoint open(const std::filesystem::path& folder);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const DecoderConfig& config() const;
  const ModelGeometry& geometry() const { return config().geometry; }
  const WeightView& embedding() const;   // [vocab][hidden]
  const WeightView& final_norm() const;  // [1][hidden]
  const WeightView& lm_head() const;     // [vocab][hidden]; the embedding where they are tied
  const LayerWeights& layer(int layer_idx) const;
  /// Identifies the model in a store: a digest of the configuration that matters to KV and of all weights' bytes (for
  /// large files: of their sizes, headers and evenly spaced samples).
  std::uint64_t fingerprint() const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reprefill::engine
