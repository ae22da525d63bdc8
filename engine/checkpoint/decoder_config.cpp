#include <algorithm>

#include "core/base/json.hpp"
#include "engine/checkpoint/checkpoint.hpp"

namespace reprefill::engine {
namespace {

bool has_value(const JsonValue& object, const std::string& key) {
  return object.has(key) && !object.json().at(key).is_null();
}

std::string rope_type(const JsonValue& rope) {
  for (const char* key : {"rope_type", "type"}) {
    if (has_value(rope, key)) return rope.key(key).as_string();
  }
  return "default";
}

std::optional<YarnScaling> read_yarn(const JsonValue& rope) {
  const std::string type = rope_type(rope);
  if (type == "default") return std::nullopt;
  if (type != "yarn") rope.fail(fmt::format("found the RoPE type \"{}\"; allowed: default, yarn", type));
  rope.refuse_unknown_keys({"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings",
                            "beta_fast", "beta_slow", "attention_factor"});
  YarnScaling yarn;
  yarn.factor = rope.key("factor").as_number(1, 1e6, "");
  yarn.original_max_positions =
      static_cast<std::uint32_t>(rope.key("original_max_position_embeddings").as_integer(1, 1 << 30, "positions"));
  if (has_value(rope, "beta_fast")) yarn.beta_fast = rope.key("beta_fast").as_number(1e-6, 1e6, "");
  if (has_value(rope, "beta_slow")) yarn.beta_slow = rope.key("beta_slow").as_number(1e-6, 1e6, "");
  if (has_value(rope, "attention_factor")) {
    yarn.attention_factor = rope.key("attention_factor").as_number(1e-6, 1e6, "");
  }
  return yarn;
}

/// Published files have rope_theta and rope_scaling side by side; transformers 5 writes both into rope_parameters.
void read_rope(const JsonValue& config, DecoderConfig& decoder) {
  if (has_value(config, "rope_parameters")) {
    const JsonValue rope = config.key("rope_parameters");
    if (has_value(config, "rope_scaling")) config.key("rope_scaling").fail("rope_parameters says it too");
    decoder.rope_theta = rope.require_object().key("rope_theta").as_number(1, 1e12, "");
    decoder.yarn = read_yarn(rope);
    return;
  }
  if (has_value(config, "rope_theta")) {
    decoder.rope_theta = config.key("rope_theta").as_number(1, 1e12, "");
  } else {
    decoder.rope_theta = 10000;  // transformers' default for Qwen2
  }
  if (has_value(config, "rope_scaling")) decoder.yarn = read_yarn(config.key("rope_scaling").require_object());
}

void read_end_ids(const JsonValue& config, std::vector<std::int32_t>& ids) {
  if (!has_value(config, "eos_token_id")) return;
  const JsonValue end = config.key("eos_token_id");
  const auto add = [&](const JsonValue& value) {
    const auto id = static_cast<std::int32_t>(value.as_integer(0, 1 << 30, "token id"));
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  if (!end.json().is_array()) return add(end);
  for (std::size_t i = 0; i < end.json().size(); ++i) add(end.element(i));
}

void refuse_other_architectures(const JsonValue& config) {
  if (config.key("model_type").as_string() != "qwen2") {
    config.key("model_type").fail_expected("qwen2: the engine runs Qwen2 and Qwen2.5 (the simulator takes more)");
  }
  if (has_value(config, "hidden_act") && config.key("hidden_act").as_string() != "silu") {
    config.key("hidden_act").fail_expected("silu");
  }
  if (has_value(config, "use_mrope") && config.key("use_mrope").as_bool()) {
    config.key("use_mrope").fail("found true; multimodal RoPE is not supported");
  }
  if (!has_value(config, "layer_types")) return;
  const JsonValue types = config.key("layer_types").require_array();
  for (std::size_t i = 0; i < types.json().size(); ++i) {
    if (types.element(i).as_string() != "full_attention") types.element(i).fail_expected("full_attention");
  }
}

}  // namespace

DecoderConfig read_decoder_config(const std::filesystem::path& config_json) {
  DecoderConfig decoder;
  decoder.geometry = read_model_config(config_json);
  const Json json = read_json_file(config_json);
  const JsonValue config(json, config_json.string());
  refuse_other_architectures(config);
  const JsonValue eps = config.key("rms_norm_eps");
  decoder.rms_norm_eps = eps.as_number(1e-12, 1, "");
  read_rope(config, decoder);
  if (decoder.geometry.head_dim % 2 != 0) config.fail("head_dim is odd: RoPE needs pairs");
  decoder.max_positions = static_cast<std::uint32_t>(decoder.geometry.max_position_embeddings);
  if (decoder.yarn) {
    const double extended = decoder.yarn->factor * decoder.yarn->original_max_positions;
    decoder.max_positions = std::max(decoder.max_positions, static_cast<std::uint32_t>(std::min(extended, 4e9)));
  }
  read_end_ids(config, decoder.end_of_sequence_ids);
  const std::filesystem::path generation = config_json.parent_path() / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const Json more = read_json_file(generation);
    read_end_ids(JsonValue(more, generation.string()), decoder.end_of_sequence_ids);
  }
  return decoder;
}

}  // namespace reprefill::engine
