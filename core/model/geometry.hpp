// The shape of a decoder: what bytes and FLOPs follow from.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "core/base/units.hpp"

namespace reprefill {

struct ModelGeometry {
  std::string name;
  std::string family = "qwen2";  // model_type of config.json
  int num_layers = 0;
  int hidden = 0;
  int num_query_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int intermediate = 0;
  int vocab = 0;  // rows of the embedding
  bool tied_embeddings = false;
  int max_position_embeddings = 0;
  int kv_element_bytes = 2;      // the store's dtype, bf16 (design 7)
  int weight_element_bytes = 2;  // from torch_dtype; bf16 where the file names none
  int mlp_matrices = 3;          // gate, up and down; 2 without a gate
  bool qkv_bias = true;
  bool other_bias = false;  // of the output projection and the MLP
  bool norm_bias = false;   // LayerNorm rather than RMSNorm
  int norms_per_layer = 2;
  int head_norms = 0;     // vectors of head_dim a layer: Qwen3 normalises queries and keys
  int position_rows = 0;  // of a learned position embedding

  /// Of activations: never below bf16, however small the weights are.
  int activation_element_bytes() const { return weight_element_bytes > 2 ? weight_element_bytes : 2; }
  int group_size() const { return num_query_heads / num_kv_heads; }

  /// K (or V) of one token in one layer, all KV heads (reference 1.1, "K B/tok/layer").
  Bytes kv_tensor_bytes_per_token_layer() const {
    return Bytes{static_cast<std::uint64_t>(num_kv_heads) * head_dim * kv_element_bytes};
  }
  /// K and V of one token in all layers.
  Bytes kv_bytes_per_token() const {
    return 2 * static_cast<std::uint64_t>(num_layers) * kv_tensor_bytes_per_token_layer();
  }
  /// Distinct KV heads that these query heads read: probing heads 0, 1, 2 of Qwen2.5-7B touches one of four [A5].
  /// Throws ConfigError for a head that the model does not have.
  int num_probed_kv_heads(std::span<const int> query_heads) const;

  /// Weights of one decoder layer: QKV, output projection, MLP, norms, with their biases.
  std::uint64_t params_per_layer() const;
  std::uint64_t embedding_params() const { return static_cast<std::uint64_t>(vocab) * hidden; }
  /// Without the embedding and an untied lm_head; the final norm is in it.
  std::uint64_t non_embedding_params() const;
  std::uint64_t params() const;
  Bytes layer_weight_bytes() const {
    return Bytes{params_per_layer() * static_cast<std::uint64_t>(weight_element_bytes)};
  }
  Bytes lm_head_bytes() const { return Bytes{embedding_params() * static_cast<std::uint64_t>(weight_element_bytes)}; }
  Bytes weight_bytes() const { return Bytes{params() * static_cast<std::uint64_t>(weight_element_bytes)}; }
};

/// Reads a `config.json` as published, of any family in `decoder_families()` (MHA or GQA), or one of the project's
/// scenarios/models (same keys, and `name` and `source`). Published files hold many other keys, which are ignored; in a
/// file with `source` unknown keys are refused. `head_dim` may be absent: hidden_size / num_attention_heads.
/// `sliding_window` counts only where `use_sliding_window` is true, and is refused then, as is a quantised checkpoint.
/// The name of a published file is its folder's. Throws ConfigError naming file, key, what was found and what is
/// allowed.
ModelGeometry read_model_config(const std::filesystem::path& path);
/// Values of model_type that the simulator knows. The engine runs qwen2 only.
std::vector<std::string> decoder_families();
Json write_model(const ModelGeometry& geometry);

}  // namespace reprefill
