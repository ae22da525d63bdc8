#include "core/model/geometry.hpp"

#include <algorithm>
#include <set>
#include <vector>

#include "core/base/nearest_name.hpp"

namespace reprefill {
namespace {

/// Bounds far beyond any published decoder; they catch nonsense, not ambition.
struct Key {
  const char* name;
  int ModelGeometry::*member;
  int maximum;
};
constexpr Key kRequired[] = {
    {"num_hidden_layers", &ModelGeometry::num_layers, 511},
    {"hidden_size", &ModelGeometry::hidden, 1 << 20},
    {"num_attention_heads", &ModelGeometry::num_query_heads, 4096},
    {"vocab_size", &ModelGeometry::vocab, 1 << 24},
    {"max_position_embeddings", &ModelGeometry::max_position_embeddings, 1 << 30},
};
constexpr int kMaxIntermediate = 1 << 22;

/// How a family's decoder differs from a Llama's: gated MLP, RMSNorm, no biases. Sources: the modelling code of Hugging
/// Face transformers, one file a family.
struct Family {
  const char* model_type;
  const char* intermediate_key = "intermediate_size";
  bool requires_kv_heads = false;  // else num_key_value_heads may be absent: as many as query heads
  int mlp_matrices = 3;
  bool qkv_bias = false;
  bool other_bias = false;
  bool norm_bias = false;
  int norms_per_layer = 2;
  int head_norms = 0;
  int extra_position_rows = -1;  // learned positions: this many more than max_position_embeddings; -1: none
  bool is_tied_by_default = false;
};
constexpr Family kFamilies[] = {
    {.model_type = "qwen2", .requires_kv_heads = true, .qkv_bias = true},
    {.model_type = "qwen3", .requires_kv_heads = true, .head_norms = 2},
    {.model_type = "llama"},
    {.model_type = "mistral"},
    {.model_type = "phi3"},
    {.model_type = "phi",
     .mlp_matrices = 2,
     .qkv_bias = true,
     .other_bias = true,
     .norm_bias = true,
     .norms_per_layer = 1},
    {.model_type = "opt",
     .intermediate_key = "ffn_dim",
     .mlp_matrices = 2,
     .qkv_bias = true,
     .other_bias = true,
     .norm_bias = true,
     .extra_position_rows = 2,
     .is_tied_by_default = true},
};

JsonValue require_key(const JsonValue& config, const std::string& key, std::string_view expected) {
  if (!config.has(key)) config.fail(fmt::format("{} is missing: expected {}", key, expected));
  return config.key(key);
}

int read_int(const JsonValue& config, const std::string& key, int maximum) {
  return static_cast<int>(
      require_key(config, key, fmt::format("a whole number from 1 to {}", maximum)).as_integer(1, maximum, ""));
}

/// The value of a key that is one of a few words.
std::string read_word(const JsonValue& word, const std::vector<std::string>& allowed) {
  std::string found = word.as_string();
  if (std::find(allowed.begin(), allowed.end(), found) == allowed.end()) {
    word.fail(fmt::format("found \"{}\"{}", found, nearest_and_allowed(found, allowed)));
  }
  return found;
}

bool has_value(const JsonValue& config, const std::string& key) {
  return config.has(key) && !config.json().at(key).is_null();
}

const Family& family_of(const JsonValue& config) {
  const std::string type = read_word(
      require_key(config, "model_type", fmt::format("{}", fmt::join(decoder_families(), ", "))), decoder_families());
  return *std::find_if(std::begin(kFamilies), std::end(kFamilies),
                       [&](const Family& family) { return type == family.model_type; });
}

/// A window counts where it is shorter than the context; Qwen says by a key of its own whether it counts at all.
void refuse_sliding_window(const JsonValue& config) {
  constexpr const char* kRefusal = "sliding-window attention is not modelled";
  if (has_value(config, "use_sliding_window")) {
    if (config.key("use_sliding_window").as_bool()) {
      config.key("use_sliding_window").fail(fmt::format("found true; allowed: false ({})", kRefusal));
    }
    return;
  }
  if (!has_value(config, "sliding_window") || config.key("model_type").as_string() == "qwen2") return;
  const int window = read_int(config, "sliding_window", 1 << 30);
  if (window < read_int(config, "max_position_embeddings", 1 << 30)) {
    config.key("sliding_window")
        .fail(fmt::format("found {}, shorter than max_position_embeddings: {}", window, kRefusal));
  }
}

void require_supported(const JsonValue& config) {
  refuse_sliding_window(config);
  if (has_value(config, "quantization_config")) {
    config.key("quantization_config")
        .fail("quantised weights are not modelled; expected a checkpoint without this key");
  }
  if (has_value(config, "word_embed_proj_dim") &&
      config.key("word_embed_proj_dim").json() != config.key("hidden_size").json()) {
    config.key("word_embed_proj_dim").fail("differs from hidden_size: projected embeddings are not modelled");
  }
}

/// The project's own files say where their numbers come from; there a misspelt key is an error.
void refuse_unknown_keys_in_own_file(const JsonValue& config, const Family& family) {
  if (!config.has("source")) return;
  if (config.key("source").as_string().empty()) config.key("source").fail_expected("where the numbers come from");
  std::vector<std::string> allowed = {"name",     "source",      "model_type",         "num_key_value_heads",
                                      "head_dim", "torch_dtype", "tie_word_embeddings"};
  for (const Key& key : kRequired) allowed.emplace_back(key.name);
  allowed.emplace_back(family.intermediate_key);
  config.refuse_unknown_keys(allowed);
}

std::string read_name(const JsonValue& config, const std::filesystem::path& path) {
  if (!config.has("name")) return std::filesystem::absolute(path).parent_path().filename().string();
  const std::string name = config.key("name").as_string();
  if (name.empty()) config.key("name").fail_expected("a name");
  return name;
}

int read_weight_element_bytes(const JsonValue& config) {
  if (!has_value(config, "torch_dtype")) return 2;
  return read_word(config.key("torch_dtype"), {"bfloat16", "float16", "float32"}) == "float32" ? 4 : 2;
}

/// Query heads, KV heads that divide them, and the size of a head.
void read_heads(const JsonValue& config, const Family& family, ModelGeometry& geometry) {
  geometry.num_kv_heads = geometry.num_query_heads;
  if (family.requires_kv_heads || has_value(config, "num_key_value_heads")) {
    geometry.num_kv_heads = read_int(config, "num_key_value_heads", 4096);
  }
  if (geometry.num_query_heads % geometry.num_kv_heads != 0) {
    config.key("num_key_value_heads")
        .fail_expected(fmt::format("a divisor of num_attention_heads ({})", geometry.num_query_heads));
  }
  if (has_value(config, "head_dim")) {
    geometry.head_dim = read_int(config, "head_dim", 65536);
    return;
  }
  if (geometry.hidden % geometry.num_query_heads != 0) {
    config.key("hidden_size")
        .fail_expected(fmt::format("a multiple of num_attention_heads ({}), or head_dim", geometry.num_query_heads));
  }
  geometry.head_dim = geometry.hidden / geometry.num_query_heads;
}

/// Biases may be switched on by keys of their own (Llama, Qwen3).
bool flag(const JsonValue& config, const char* key, bool otherwise) {
  return has_value(config, key) ? config.key(key).as_bool() : otherwise;
}

void read_layer_shape(const JsonValue& config, const Family& family, ModelGeometry& geometry) {
  geometry.family = family.model_type;
  geometry.intermediate = read_int(config, family.intermediate_key, kMaxIntermediate);
  geometry.mlp_matrices = family.mlp_matrices;
  geometry.qkv_bias = flag(config, "attention_bias", family.qkv_bias);
  geometry.other_bias = flag(config, "mlp_bias", family.other_bias);
  geometry.norm_bias = family.norm_bias;
  geometry.norms_per_layer = family.norms_per_layer;
  geometry.head_norms = family.head_norms;
  if (family.extra_position_rows >= 0) {
    geometry.position_rows = geometry.max_position_embeddings + family.extra_position_rows;
  }
}

}  // namespace

std::vector<std::string> decoder_families() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.model_type);
  return names;
}

int ModelGeometry::num_probed_kv_heads(std::span<const int> query_heads) const {
  std::set<int> touched;
  for (const int head : query_heads) {
    if (head < 0 || head >= num_query_heads) {
      throw ConfigError(
          fmt::format("probe_heads: found {}; expected query heads of {}, 0 to {}", head, name, num_query_heads - 1));
    }
    touched.insert(head / group_size());
  }
  return static_cast<int>(touched.size());
}

std::uint64_t ModelGeometry::params_per_layer() const {
  const auto h = static_cast<std::uint64_t>(hidden);
  const auto q = static_cast<std::uint64_t>(num_query_heads) * head_dim;
  const auto kv = static_cast<std::uint64_t>(num_kv_heads) * head_dim;
  const auto f = static_cast<std::uint64_t>(intermediate);
  const auto m = static_cast<std::uint64_t>(mlp_matrices);
  std::uint64_t params = h * (q + 2 * kv) + q * h + m * h * f;
  if (qkv_bias) params += q + 2 * kv;
  if (other_bias) params += h + (m - 1) * f + h;
  params += static_cast<std::uint64_t>(norms_per_layer) * h * (norm_bias ? 2 : 1);
  return params + static_cast<std::uint64_t>(head_norms) * static_cast<std::uint64_t>(head_dim);
}

std::uint64_t ModelGeometry::non_embedding_params() const {
  const auto h = static_cast<std::uint64_t>(hidden);
  return static_cast<std::uint64_t>(num_layers) * params_per_layer() + h * (norm_bias ? 2 : 1) +
         static_cast<std::uint64_t>(position_rows) * h;
}

std::uint64_t ModelGeometry::params() const {
  return non_embedding_params() + embedding_params() * (tied_embeddings ? 1 : 2);
}

ModelGeometry read_model_config(const std::filesystem::path& path) {
  const Json json = read_json_file(path);
  const JsonValue config(json, path.string());
  config.require_object();
  const Family& family = family_of(config);
  require_supported(config);
  refuse_unknown_keys_in_own_file(config, family);
  ModelGeometry geometry;
  geometry.name = read_name(config, path);
  for (const Key& key : kRequired) geometry.*key.member = read_int(config, key.name, key.maximum);
  read_heads(config, family, geometry);
  read_layer_shape(config, family, geometry);
  geometry.tied_embeddings = family.is_tied_by_default && !has_value(config, "tie_word_embeddings")
                                 ? true
                                 : require_key(config, "tie_word_embeddings", "true or false").as_bool();
  geometry.weight_element_bytes = read_weight_element_bytes(config);
  return geometry;
}

Json write_model(const ModelGeometry& geometry) {
  return {{"name", geometry.name},
          {"family", geometry.family},
          {"num_layers", geometry.num_layers},
          {"hidden", geometry.hidden},
          {"num_query_heads", geometry.num_query_heads},
          {"num_kv_heads", geometry.num_kv_heads},
          {"head_dim", geometry.head_dim},
          {"intermediate", geometry.intermediate},
          {"mlp_matrices", geometry.mlp_matrices},
          {"vocab", geometry.vocab},
          {"tied_embeddings", geometry.tied_embeddings},
          {"max_position_embeddings", geometry.max_position_embeddings},
          {"kv_element_bytes", geometry.kv_element_bytes},
          {"weight_element_bytes", geometry.weight_element_bytes}};
}

}  // namespace reprefill
