#include "cli/engine_options.hpp"

#include "sim/scenario/scenario.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::cli {
namespace {

constexpr std::string_view kPreset = "preset:";

}  // namespace

CLI::Option* add_model_options(CLI::App& verb, ModelOptions& options) {
  CLI::Option* const model =
      verb.add_option("--model", options.folder, "Folder of a Qwen2 or Qwen2.5 checkpoint (config.json, safetensors)");
  model->required();
  verb.add_option("--tokenizer", options.tokenizer, "tokenizer.json, where it is not in the model's folder");
  verb.add_option("--device", options.device, "cpu (default) or cuda: what computes, and where the GPU tier is");
  verb.add_option("--gpu", options.gpu_index, "Number of the GPU, with --device cuda (default 0)")
      ->check(CLI::Range(0, 63));
  verb.add_option("--threads", options.threads, "Threads of the CPU executor (default: the cores of this process)")
      ->check(CLI::Range(1, 1024));
  verb.add_option("--kv-dtype", options.kv_dtype,
                  "Element type of stored KV: bf16 (default), fp32 (parity tests only)");
  return model;
}

engine::Model open_model(const ModelOptions& options) {
  return engine::Model::open(
      options.folder, options.tokenizer,
      {.device = choice_of<engine::ExecutorDevice>(options.device, "--device"),
       .cpu = {.num_threads = options.threads, .kv_type = choice_of<KvType>(options.kv_dtype, "--kv-dtype")},
       .gpu_index = options.gpu_index});
}

engine::StoreModel store_model(const engine::Model& model) {
  engine::StoreGeometry geometry = engine::StoreGeometry::of(model.checkpoint->geometry());
  geometry.kv_type = model.executor->kv_type();
  return {
      .name = model.checkpoint->geometry().name, .fingerprint = model.checkpoint->fingerprint(), .geometry = geometry};
}

bool is_importance_preset(const std::string& from) { return from.starts_with(kPreset); }

std::unique_ptr<traces::ImportanceSource> open_importance_preset(const std::string& from, const std::string& option,
                                                                 int num_kv_heads, std::vector<int> probe_kv_heads) {
  constexpr std::uint64_t kSeed = 1;
  const traces::ImportancePreset& preset = traces::importance_preset(from.substr(kPreset.size()), option);
  return std::make_unique<traces::SyntheticImportance>(
      preset.params, traces::ImportanceHeads{.num_kv_heads = num_kv_heads, .probe_kv_heads = std::move(probe_kv_heads)},
      kSeed);
}

Json params_of(const std::vector<std::string>& sets, const std::string& option) {
  Json params = Json::object();
  for (const std::string& text : sets) {
    const sim::Override parsed = sim::parse_override(text);
    if (parsed.values.size() != 1) throw ConfigError(fmt::format("{} {}: expected one value", option, text));
    Json* place = &params;
    std::size_t start = 0;
    for (std::size_t dot; (dot = parsed.path.find('.', start)) != std::string::npos; start = dot + 1) {
      place = &(*place)[parsed.path.substr(start, dot - start)];
      if (!place->is_null() && !place->is_object())
        throw ConfigError(fmt::format("{} {}: {} is a value already", option, text, parsed.path.substr(0, dot)));
    }
    (*place)[parsed.path.substr(start)] = parsed.values.front();
  }
  return params;
}

}  // namespace reprefill::cli
