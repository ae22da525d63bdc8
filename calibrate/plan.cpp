#include "calibrate/plan.hpp"

#include <algorithm>

#include "calibrate/cpu/host_cells.hpp"
#include "calibrate/cpu/interference_cells.hpp"
#include "calibrate/cpu/random_checkpoint.hpp"
#include "calibrate/cuda/gpu_copy_cells.hpp"
#include "calibrate/cuda/gpu_interference_cells.hpp"
#include "calibrate/cuda/gpu_operation_cells.hpp"
#include "calibrate/session/driver_cells.hpp"
#include "core/base/files.hpp"
#include "core/base/nearest_name.hpp"
#include "sim/devices/operation_tables.hpp"

namespace reprefill::calibrate {
namespace {

/// A GPU's cells are many and its samples short.
StoppingRule rule_of(const CalibrateOptions& options) {
  if (options.effort == Effort::quick) return {.min_samples = 6, .max_samples = 60, .target = 0.02, .cap_s = 0.8};
  return {.min_samples = 9, .max_samples = 300, .target = 0.01, .cap_s = options.on_gpu() ? 1.0 : 2.0};
}

void check_device(const CalibrateOptions& options) {
  if (options.device != "cpu" && options.device != "cuda") {
    throw ConfigError(fmt::format("--device: found \"{}\"; expected \"cpu\" or \"cuda\"", options.device));
  }
  if (options.on_gpu() && options.models.empty()) {
    throw ConfigError(
        "--device cuda: found no --model; expected one: copies and launches are timed beside its streams");
  }
}

OperationGrid operation_grid_of(const CalibrateOptions& options) {
  const bool full = options.effort == Effort::full;
  if (options.on_gpu()) return full ? full_gpu_grid() : quick_gpu_grid();
  return full ? full_operation_grid() : quick_operation_grid();
}

std::filesystem::path config_of(const std::string& name, const std::filesystem::path& shipped) {
  const std::filesystem::path path(name);
  if (folder_exists(path)) return path / "config.json";
  if (path_exists(path)) return path;
  if (const auto file = shipped / (name + ".json"); path_exists(file)) return file;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(shipped)) names.push_back(entry.path().stem());
  std::ranges::sort(names);
  throw ConfigError(
      fmt::format("--model: found \"{}\"; expected a config.json, a checkpoint's folder, or a shape in {}{}", name,
                  shipped.string(), nearest_and_allowed(name, names)));
}

ModelSource source_of(const std::string& name, const std::filesystem::path& shipped, Bytes weight_cache) {
  ModelSource source;
  source.config = config_of(name, shipped);
  source.geometry = read_model_config(source.config);
  if (source.geometry.family != "qwen2") {
    throw ConfigError(fmt::format("--model: {}: the engine runs qwen2 only; found {}", source.config.string(),
                                  source.geometry.family));
  }
  const std::filesystem::path folder = source.config.parent_path();
  if (folder_exists(name)) {
    if (path_exists(folder / "model.safetensors") || path_exists(folder / "model.safetensors.index.json")) {
      source.checkpoint = folder;
    }
    if (path_exists(folder / "tokenizer.json")) source.tokenizer = folder / "tokenizer.json";
  }
  source.num_layers = num_random_layers(source.geometry);
  const std::uint64_t widened =
      4 * source.geometry.params_per_layer() * static_cast<std::uint64_t>(source.geometry.num_layers);
  source.weights_cached = widened <= weight_cache.value;
  return source;
}

PlannedPart part_of(const std::string& name, const std::vector<std::unique_ptr<Cell>>& cells,
                    const StoppingRule& rule) {
  PlannedPart part{.name = name, .num_cells = cells.size()};
  for (const auto& cell : cells) part.expected_s += expected_cell_s(cell->spec(), rule);
  return part;
}

void plan_storage(Plan& plan) {
  constexpr double kFillRate = 5e8;
  plan.parts.push_back(
      {.name = "scratch file", .num_cells = 0, .expected_s = static_cast<double>(plan.site->span.value) / kFillRate});
  plan.parts.push_back(part_of("storage", storage_cells(plan.storage_grid, nullptr), plan.rule));
  plan.parts.push_back(
      {.name = "sustained reads", .num_cells = 1, .expected_s = static_cast<double>(plan.sustained_s)});
}

void plan_cpu(Plan& plan, Clock& clock) {
  for (const ModelSource& model : plan.models) {
    plan.parts.push_back(
        part_of(model.geometry.name, operation_cells(plan.operation_grid, model.geometry, nullptr), plan.rule));
    plan.parts.push_back(part_of(model.geometry.name + " in sessions", driver_cells(model.geometry, {}), plan.rule));
  }
  const InterferenceParts interference{
      .file = nullptr, .has_storage = plan.site.has_value(), .has_compute = !plan.models.empty()};
  plan.parts.push_back(part_of("interference", interference_cells(interference, clock), plan.rule));
}

void plan_gpu(Plan& plan) {
  for (const ModelSource& model : plan.models) {
    plan.parts.push_back(
        part_of(model.geometry.name, gpu_operation_cells(plan.operation_grid, model.geometry, nullptr), plan.rule));
    plan.parts.push_back(part_of(model.geometry.name + " in sessions", driver_cells(model.geometry, {}), plan.rule));
  }
  plan.parts.push_back(
      part_of("copies to and from the GPU", gpu_copy_cells(plan.options.effort == Effort::full, nullptr), plan.rule));
  plan.parts.push_back(
      part_of("interference", gpu_interference_cells({.has_storage = plan.site.has_value()}), plan.rule));
}

}  // namespace

double Plan::expected_s() const {
  double total = 0;
  for (const PlannedPart& part : parts) total += part.expected_s;
  return total;
}

Json Plan::to_json() const {
  Json json = {{"device", options.device}, {"effort", options.effort == Effort::full ? "full" : "quick"}};
  json["storage"] = site ? Json{{"folder", site->folder.string()},
                                {"device", site->device.name},
                                {"span_bytes", site->span.value},
                                {"unregistered_buffers", options.unregistered_buffers}}
                         : Json(nullptr);
  json["fio"] = options.fio ? Json(options.fio->string()) : Json(nullptr);
  json["threads"] = options.threads;
  if (options.on_gpu()) json["gpu"] = options.gpu_index;
  json["cell_seconds"] = rule.cap_s;
  json["models"] = Json::array();
  for (const ModelSource& model : models) {
    json["models"].push_back({{"name", model.geometry.name},
                              {"shape", sim::shape_json(model.geometry)},
                              {"weights", model.checkpoint.empty() ? "random" : model.checkpoint.string()}});
  }
  json["machine"] = describe_machine();
  return json;
}

StoppingRule read_again_rule(StoppingRule rule) {
  rule.min_samples = rule.fewest;
  rule.max_samples = 2 * rule.samples_per_turn;
  rule.cap_s = std::min(rule.cap_s, 0.3);
  return rule;
}

double expected_cell_s(const CellSpec& spec, const StoppingRule& rule) {
  // Most cells are noisy enough to go on to about half of their cap, or to their last sample, with one of four to warm
  // up.
  const double all_samples_s = 1.3 * rule.max_samples * spec.expected_s;
  const double usual_s = std::min({rule.cap_s, rule.cap_s / 2 + rule.fewest * spec.expected_s, all_samples_s});
  return std::max(rule.fewest * spec.expected_s, usual_s);
}

Plan make_plan(const CalibrateOptions& options) {
  check_device(options);
  Plan plan{.options = options,
            .rule = rule_of(options),
            .sustained_s = 5,
            .storage_grid = options.effort == Effort::full ? full_storage_grid() : quick_storage_grid(),
            .operation_grid = operation_grid_of(options),
            .site = std::nullopt,
            .models = {},
            .parts = {}};
  if (options.effort == Effort::full) plan.sustained_s = 20;
  if (options.cell_seconds) {
    plan.rule.cap_s = *options.cell_seconds;
    plan.sustained_s = std::clamp(static_cast<int>(10 * *options.cell_seconds), 1, plan.sustained_s);
    plan.storage_grid.slice_s = std::min(plan.storage_grid.slice_s, *options.cell_seconds / 2);
  }
  plan.storage_grid.unregistered_buffers = options.unregistered_buffers;
  if (options.storage) {
    plan.site = inspect_site(*options.storage, options.span);
    plan.storage_grid.span = plan.site->span;
  }
  const engine::CpuExecutorOptions executor;
  for (const std::string& name : options.models) {
    plan.models.push_back(source_of(name, options.models_folder, executor.weight_cache));
    if (options.on_gpu()) plan.models.back().num_layers = num_gpu_layers(plan.models.back().geometry);
    for (std::size_t i = 0; i + 1 < plan.models.size(); ++i) {
      if (plan.models[i].geometry.name == plan.models.back().geometry.name) {
        throw ConfigError(fmt::format("--model: {} is there twice", plan.models[i].geometry.name));
      }
    }
  }
  SteadyClock clock;
  const bool tokenises = std::ranges::any_of(plan.models, [](const ModelSource& m) { return !m.tokenizer.empty(); });
  plan.parts.push_back(part_of("host", host_cells(options.effort == Effort::full, nullptr, clock), plan.rule));
  if (tokenises) {
    plan.parts.back().num_cells += 2;
    plan.parts.back().expected_s += plan.rule.cap_s;
  }
  if (plan.site) plan_storage(plan);
  if (options.on_gpu()) {
    plan_gpu(plan);
  } else {
    plan_cpu(plan, clock);
  }
  if (plan.site) {
    plan.parts.push_back(
        part_of("reads once more", read_again_cells(plan.storage_grid, nullptr), read_again_rule(plan.rule)));
  }
  return plan;
}

}  // namespace reprefill::calibrate
