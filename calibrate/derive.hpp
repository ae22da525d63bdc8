// What-if parts: a bundle with some numbers changed, or parts of others.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/base/json.hpp"

namespace reprefill::calibrate {

/// `part` of the new bundle: taken from another bundle, and numbers of it by name, as a scenario writes them
/// ("read_bandwidth": "14 GB/s", "num_devices": "4").
struct PartChanges {
  std::string from;  // empty: the base's
  std::map<std::string, std::string> numbers = {};
};

struct DerivedBundle {
  Json meta;
  Json model;
};

/// A complete hypothetical bundle: every number keeps its source, a changed one says what it was derived from. Measured
/// tables follow as they do when a scenario overrides numbers (sim/devices/profile.cpp): a drive's curve is scaled, a
/// GPU's operations are left out. Throws ConfigError as reading a profile does, and where the base has not all parts
/// and `changes` brings none.
DerivedBundle derive_bundle(const std::string& base, const std::map<std::string, PartChanges>& changes,
                            const std::string& name, const std::filesystem::path& shipped);

}  // namespace reprefill::calibrate
