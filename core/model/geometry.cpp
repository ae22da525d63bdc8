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
    {"intermediate_size", &ModelGeometry::intermediate, 1 << 22},
    {"vocab_size", &ModelGeometry::vocab, 1 << 24},
    {"max_position_embeddings", &ModelGeometry::max_position_embeddings, 1 << 30},
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

void require_supported(const JsonValue& config) {
  read_word(require_key(config, "model_type", "qwen2"), {"qwen2"});
  if (has_value(config, "use_sliding_window") && config.key("use_sliding_window").as_bool()) {
    config.key("use_sliding_window").fail("found true; allowed: false (sliding-window attention is not modelled)");
  }
  if (has_value(config, "quantization_config")) {
    config.key("quantization_config")
        .fail("quantised weights are not modelled; expected a checkpoint without this key");
  }
}

/// The project's own files say where their numbers come from; there a misspelt key is an error.
void refuse_unknown_keys_in_own_file(const JsonValue& config) {
  if (!config.has("source")) return;
  if (config.key("source").as_string().empty()) config.key("source").fail_expected("where the numbers come from");
  std::vector<std::string> allowed = {"name",     "source",      "model_type",         "num_key_value_heads",
                                      "head_dim", "torch_dtype", "tie_word_embeddings"};
  for (const Key& key : kRequired) allowed.emplace_back(key.name);
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
void read_heads(const JsonValue& config, ModelGeometry& geometry) {
  geometry.num_kv_heads = read_int(config, "num_key_value_heads", 4096);
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

}  // namespace

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
  return h * (q + 2 * kv) + (q + 2 * kv) + q * h + 3 * h * f + 2 * h;
}

std::uint64_t ModelGeometry::non_embedding_params() const {
  return static_cast<std::uint64_t>(num_layers) * params_per_layer() + static_cast<std::uint64_t>(hidden);
}

std::uint64_t ModelGeometry::params() const {
  return non_embedding_params() + embedding_params() * (tied_embeddings ? 1 : 2);
}

ModelGeometry read_model_config(const std::filesystem::path& path) {
  const Json json = read_json_file(path);
  const JsonValue config(json, path.string());
  config.require_object();
  require_supported(config);
  refuse_unknown_keys_in_own_file(config);
  ModelGeometry geometry;
  geometry.name = read_name(config, path);
  for (const Key& key : kRequired) geometry.*key.member = read_int(config, key.name, key.maximum);
  read_heads(config, geometry);
  geometry.tied_embeddings = require_key(config, "tie_word_embeddings", "true or false").as_bool();
  geometry.weight_element_bytes = read_weight_element_bytes(config);
  return geometry;
}

Json write_model(const ModelGeometry& geometry) {
  return {{"name", geometry.name},
          {"num_layers", geometry.num_layers},
          {"hidden", geometry.hidden},
          {"num_query_heads", geometry.num_query_heads},
          {"num_kv_heads", geometry.num_kv_heads},
          {"head_dim", geometry.head_dim},
          {"intermediate", geometry.intermediate},
          {"vocab", geometry.vocab},
          {"tied_embeddings", geometry.tied_embeddings},
          {"max_position_embeddings", geometry.max_position_embeddings},
          {"kv_element_bytes", geometry.kv_element_bytes},
          {"weight_element_bytes", geometry.weight_element_bytes}};
}

}  // namespace reprefill
