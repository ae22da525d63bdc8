#include "sim/scenario/memory_plan.hpp"

#include <numeric>

namespace reprefill::sim {
namespace {

void add_buffer(std::vector<MemoryItem>& items, const char* name, const Json& params, const char* key) {
  if (!params.contains(key)) return;
  const Bytes size{params.at(key).get<std::uint64_t>()};
  if (size.value > 0) items.push_back({name, size});
}

std::string row(const MemoryItem& item) {
  return fmt::format("    {:<28}{:>10.3f} GB\n", item.name, static_cast<double>(item.size.value) * 1e-9);
}

}  // namespace

const ParamTable<WeightsSpec>& weights_params() {
  using P = WeightsSpec;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::bytes_per_param, {.name = "bytes_per_param",
                                .doc = "of the weights; null: torch_dtype of the model's config",
                                .source = "",
                                .unit = "bytes",
                                .minimum = 1,
                                .maximum = 4});
    t.add(&P::placement, {.name = "placement",
                          .doc = "gpu: resident; stream_from_host: every request copies every layer's weights over the "
                                 "link, one layer ahead of its use",
                          .source = "reference 3.5: FlexGen looks ahead by one layer"});
    return t;
  }();
  return table;
}

Bytes MemoryPlan::gpu_total() const {
  return std::accumulate(gpu.begin(), gpu.end(), Bytes{0},
                         [](Bytes sum, const MemoryItem& item) { return sum + item.size; });
}

std::string MemoryPlan::to_text() const {
  std::string text = fmt::format("  GPU, {:.3f} GB in all:\n", static_cast<double>(gpu_memory.value) * 1e-9);
  for (const MemoryItem& item : gpu) text += row(item);
  text += row({"sum", gpu_total()});
  if (!fits_gpu()) text += "    does not fit: simulated all the same\n";
  text += "  host:\n";
  for (const MemoryItem& item : host) text += row(item);
  return text;
}

MemoryPlan plan_memory(const ModelGeometry& geometry, const WeightsSpec& weights, const Json& system_params,
                       Bytes gpu_memory) {
  MemoryPlan plan;
  plan.gpu_memory = gpu_memory;
  if (weights.placement == WeightPlacement::gpu) {
    plan.gpu.push_back({"weights", geometry.weight_bytes()});
  } else {
    plan.gpu.push_back({"weights of two layers", 2 * geometry.layer_weight_bytes()});
    plan.gpu.push_back({"output matrix", geometry.lm_head_bytes()});
    plan.host.push_back({"weights", geometry.weight_bytes()});
  }
  add_buffer(plan.gpu, "KV tier", system_params, "gpu_cache_bytes");
  add_buffer(plan.gpu, "workspace", system_params, "workspace_bytes");
  add_buffer(plan.host, "KV tier", system_params, "host_cache_bytes");
  add_buffer(plan.host, "staging", system_params, "staging_bytes");
  return plan;
}

}  // namespace reprefill::sim
