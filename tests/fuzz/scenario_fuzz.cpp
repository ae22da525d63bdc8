// Any bytes as a scenario: a clear error or a list of points, never a crash. Profiles and models are the shipped ones.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "sim/scenario/scenario.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprefill;
  const std::filesystem::path home = REPREFILL_SOURCE_DIR;
  static const sim::ScenarioContext context{.models = home / "scenarios" / "models",
                                            .profiles = home / "calibrate" / "profiles",
                                            .traces = {},
                                            .samples = home / "traces" / "samples"};
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    sim::read_scenario(parse_json(text, "fuzz"), "fuzz", {}, context);
  } catch (const ConfigError&) {}
  return 0;
}
