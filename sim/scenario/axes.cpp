#include "sim/scenario/axes.hpp"

namespace reprefill::sim {
namespace {

AxisGroup read_group(const JsonValue& object) {
  AxisGroup group;
  for (const auto& [path, values] : object.require_object().json().items()) {
    const JsonValue list = object.key(path).require_array();
    if (list.json().empty()) list.fail("found []; expected at least one value");
    group.paths.push_back(path);
    group.values.emplace_back(list.json().begin(), list.json().end());
    if (group.values.back().size() != group.num_steps()) {
      list.fail(fmt::format("{} values; zipped axes need as many as {} ({})", group.values.back().size(),
                            group.paths.front(), group.num_steps()));
    }
  }
  return group;
}

/// A part that is given by its name alone stands for an object: "direct" for {"kind": "direct"}.
Json object_from_name(const std::string& key, const Json& name) {
  if (key == "software_path") return Json{{"kind", name}};
  if (key == "gpu" || key == "ssd" || key == "link" || key == "host") return Json{{"from", name}};
  return Json{{"name", name}};
}

/// "gpu_cache": "1 GB" replaces "gpu_cache_bytes": 10000000000, and the other way round.
void erase_other_forms(Json& object, const std::string& key) {
  if (!object.is_object()) return;
  for (const std::string suffix : {"_bytes", "_ns", "_bytes_per_s", "_flops_per_s"}) {
    object.erase(key + suffix);
    if (key.ends_with(suffix)) object.erase(key.substr(0, key.size() - suffix.size()));
  }
}

}  // namespace

void read_axes(const JsonValue& object, const std::string& cartesian_key, const std::string& zipped_key,
               std::vector<AxisGroup>& groups) {
  if (object.has(cartesian_key)) {
    const JsonValue axes = object.key(cartesian_key).require_object();
    for (const auto& [path, values] : axes.json().items()) {
      Json one = Json::object();
      one[path] = values;
      groups.push_back(read_group(JsonValue(one, axes.origin(), axes.path())));
    }
  }
  if (object.has(zipped_key)) {
    const JsonValue list = object.key(zipped_key).require_array();
    for (std::size_t i = 0; i < list.json().size(); ++i) {
      AxisGroup group = read_group(list.element(i));
      if (!group.paths.empty()) groups.push_back(std::move(group));
    }
  }
}

std::vector<AxisSetting> all_settings(const std::vector<AxisGroup>& groups) {
  std::vector<AxisSetting> settings{{}};
  for (const AxisGroup& group : groups) {
    std::vector<AxisSetting> longer;
    for (const AxisSetting& setting : settings) {
      for (std::size_t step = 0; step < group.num_steps(); ++step) {
        AxisSetting next = setting;
        for (std::size_t i = 0; i < group.paths.size(); ++i) next.emplace_back(group.paths[i], group.values[i][step]);
        longer.push_back(std::move(next));
      }
    }
    settings = std::move(longer);
  }
  return settings;
}

void set_path(Json& object, const std::string& path, const Json& value) {
  Json* target = &object;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = path.find('.', begin);
    const std::string key = path.substr(begin, end == std::string::npos ? std::string::npos : end - begin);
    if (end == std::string::npos) {
      erase_other_forms(*target, key);
      (*target)[key] = value;
      return;
    }
    Json& next = (*target)[key];
    if (next.is_string()) next = object_from_name(key, next);
    if (next.is_null()) next = Json::object();
    target = &next;
    begin = end + 1;
  }
}

}  // namespace reprefill::sim
