// What state a GPU is in: clocks, temperature, throttling, as nvidia-smi says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::calibrate {

/// One reading. Values that the device does not show are absent.
struct GpuConditions {
  std::string name, driver;
  std::optional<double> sm_mhz, memory_mhz, celsius, watts, used_mib, busy_percent;
  std::optional<std::uint64_t> throttle_reasons;  // NVML's bits
  Json to_json() const;
};

/// Of one line of `nvidia-smi --query-gpu=<kGpuQuery> --format=csv,noheader,nounits`. Absent where it is none.
extern const char* const kGpuQuery;
std::optional<GpuConditions> parse_gpu_conditions(const std::string& line);

/// Absent where there is no nvidia-smi.
std::optional<GpuConditions> read_gpu_conditions(int gpu_index);

/// What a reader should know: another program on the device before we began, throttling, heat.
std::vector<std::string> gpu_disturbances(const GpuConditions& before, const GpuConditions& after);

}  // namespace reprefill::calibrate
