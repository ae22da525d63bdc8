// Options that every verb of the engine shares.
#pragma once

#include <CLI/CLI.hpp>

#include "core/base/params.hpp"
#include "engine/session/session.hpp"

namespace reprefill::cli {

struct ModelOptions {
  std::string folder;
  std::string tokenizer;
  int threads = 0;
  std::string kv_dtype = "bf16";
  std::string device = "cpu";
  int gpu_index = 0;
};
/// Returns `--model`, which is required unless the caller says otherwise.
CLI::Option* add_model_options(CLI::App& verb, ModelOptions& options);
engine::Model open_model(const ModelOptions& options);

/// Whose KV the executor produces: what a store is checked against and written for.
engine::StoreModel store_model(const engine::Model& model);

/// "preset:NAME" in place of an importance trace's file: scores drawn from one of the generator's presets.
bool is_importance_preset(const std::string& from);
std::unique_ptr<traces::ImportanceSource> open_importance_preset(const std::string& from, const std::string& option,
                                                                 int num_kv_heads, std::vector<int> probe_kv_heads);

/// `key=value` options as the object that a scenario would hold; dots nest ("kv_layout.order=chunk_major").
Json params_of(const std::vector<std::string>& sets, const std::string& option);

/// One of an enum's names. Throws ConfigError with the nearest and all of them.
template <typename Enum>
Enum choice_of(const std::string& text, const std::string& option) {
  std::vector<std::string> names;
  for (const auto& [name, value] : EnumNames<Enum>::names) names.emplace_back(name);
  const Json json = text;
  const int index = detail::read_choice(JsonValue(json, option), names);
  return EnumNames<Enum>::names[static_cast<std::size_t>(index)].second;
}

}  // namespace reprefill::cli

template <>
struct reprefill::EnumNames<reprefill::engine::ExecutorDevice> {
  static constexpr std::pair<const char*, engine::ExecutorDevice> names[] = {{"cpu", engine::ExecutorDevice::cpu},
                                                                             {"cuda", engine::ExecutorDevice::cuda}};
};
template <>
struct reprefill::EnumNames<reprefill::KvType> {
  static constexpr std::pair<const char*, KvType> names[] = {{"bf16", KvType::bf16}, {"fp32", KvType::fp32}};
};
