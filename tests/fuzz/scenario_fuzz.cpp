// Any bytes as a scenario: a clear error or a list of points, never a crash. Profiles and models are the shipped ones.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "sim/scenario/scenario.hpp"

using namespace reprefill;

namespace {

/// What reads a point has been seen after so many; time is better spent on other scenarios.
constexpr double kMaxSettings = 32;

/// Of the axes in `object`, about; too many where they repeat points.
double num_settings(const Json& object) {
  const auto num_steps = [](const std::string& path, const Json& values) {
    return path == "repeats" ? 2 * kMaxSettings : std::max<double>(1, static_cast<double>(values.size()));
  };
  double count = 1;
  if (object.contains("axes") && object["axes"].is_object()) {
    for (const auto& [path, values] : object["axes"].items()) count *= num_steps(path, values);
  }
  if (object.contains("zipped_axes") && object["zipped_axes"].is_array()) {
    for (const Json& group : object["zipped_axes"]) {
      double steps = 1;
      if (!group.is_object()) continue;
      for (const auto& [path, values] : group.items()) steps = std::max(steps, num_steps(path, values));
      count *= steps;
    }
  }
  return count;
}

bool is_small(const Json& scenario) {
  if (!scenario.is_object()) return true;
  double own = 1;
  if (scenario.contains("systems") && scenario["systems"].is_array()) {
    for (const Json& system : scenario["systems"]) {
      if (system.is_object()) own = std::max(own, num_settings(system));
    }
  }
  const bool repeats = scenario.contains("repeats") && scenario["repeats"].is_number() && scenario["repeats"] > 4;
  return !repeats && num_settings(scenario) * own <= kMaxSettings;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path home = REPREFILL_SOURCE_DIR;
  static const sim::ScenarioContext context{.models = home / "scenarios" / "models",
                                            .profiles = home / "calibrate" / "profiles",
                                            .traces = {},
                                            .samples = home / "traces" / "samples"};
  try {
    const Json json = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (!is_small(json)) return -1;  // libFuzzer: do not keep it
    sim::read_scenario(json, "fuzz", {}, context);
  } catch (const ConfigError&) {}
  return 0;
}
