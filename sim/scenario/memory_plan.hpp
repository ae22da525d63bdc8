// Where the weights are, and whether everything fits: a plan to print, not a limit of the simulation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/params.hpp"
#include "core/model/geometry.hpp"

namespace reprefill::sim {

/// `stream_from_host`: a layer's weights cross the link for every request, while the layer before computes.
enum class WeightPlacement : std::uint8_t { gpu, stream_from_host };

struct WeightsSpec {
  std::optional<int> bytes_per_param;  // null: as the model's config says
  WeightPlacement placement = WeightPlacement::gpu;
};
const ParamTable<WeightsSpec>& weights_params();

struct MemoryItem {
  std::string name;
  Bytes size;
};

struct MemoryPlan {
  std::vector<MemoryItem> gpu;
  std::vector<MemoryItem> host;
  Bytes gpu_memory;  // that the profile says there is

  Bytes gpu_total() const;
  bool fits_gpu() const { return gpu_total() <= gpu_memory; }
  std::string to_text() const;
};

/// Of one system's tiers and buffers, beside the weights. Streamed weights take two layers and the output matrix.
MemoryPlan plan_memory(const ModelGeometry& geometry, const WeightsSpec& weights, const Json& system_params,
                       Bytes gpu_memory);

}  // namespace reprefill::sim

template <>
struct reprefill::EnumNames<reprefill::sim::WeightPlacement> {
  static constexpr std::pair<const char*, sim::WeightPlacement> names[] = {
      {"gpu", sim::WeightPlacement::gpu}, {"stream_from_host", sim::WeightPlacement::stream_from_host}};
};
