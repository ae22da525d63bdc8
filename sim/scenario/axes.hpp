// Axes of a sweep: which JSON values of a scenario change from point to point.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::sim {

/// Axes that change together; a plain axis is a group of one.
struct AxisGroup {
  std::vector<std::string> paths;
  std::vector<std::vector<Json>> values;  // [path][step]
  std::size_t num_steps() const { return values.front().size(); }
};

/// Reads {"budget": [0.05, 0.25], ...} and [{"a": [...], "b": [...]}, ...]. Lists must not be empty, zipped ones equal.
void read_axes(const JsonValue& object, const std::string& cartesian_key, const std::string& zipped_key,
               std::vector<AxisGroup>& groups);

/// One setting of every axis: (path, value) pairs in the order of the groups, first group slowest.
using AxisSetting = std::vector<std::pair<std::string, Json>>;
std::vector<AxisSetting> all_settings(const std::vector<AxisGroup>& groups);

/// Sets "a.b.c" in `object`, making objects on the way. A string in the way becomes {`string_key(first key)`: string}.
void set_path(Json& object, const std::string& path, const Json& value);

}  // namespace reprefill::sim
