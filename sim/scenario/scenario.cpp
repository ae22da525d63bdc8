#include "sim/scenario/scenario.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <fmt/ranges.h>

#include "core/base/files.hpp"
#include "core/base/nearest_name.hpp"
#include "core/model/geometry.hpp"
#include "sim/scenario/axes.hpp"

namespace reprefill::sim {
namespace {

const std::vector<std::string> kTopLevelKeys = {
    "schema_version", "name",           "description",        "model",         "profile",          "software_path",
    "systems",        "workload",       "importance",         "axes",          "zipped_axes",      "repeats",
    "seed",           "noise",          "store_block_tokens", "mass_requests", "kv_element_bytes", "weights",
    "keep_requests",  "range_replicas", "slo_ttft_ms"};
constexpr int kSchemaVersion = 1;
constexpr std::size_t kMaxPoints = 1'000'000;

std::string first_key(const std::string& path) { return path.substr(0, path.find('.')); }

bool is_top_level(const std::string& path) {
  return std::find(kTopLevelKeys.begin(), kTopLevelKeys.end(), first_key(path)) != kTopLevelKeys.end();
}

bool declares(const pipeline::SystemEntry& entry, const std::string& path) {
  const std::vector<std::string> names = entry.param_names();
  return std::find(names.begin(), names.end(), first_key(path)) != names.end();
}

/// One entry of the scenario's `systems`.
struct SystemSpec {
  const pipeline::SystemEntry* entry;
  std::string label;
  Json params;
  std::vector<AxisGroup> own_axes;
  std::string path;  // "systems[0]"
};

class Reader {
 public:
  Reader(Json json, std::string origin, const ScenarioContext& context)
      : json_(std::move(json)), origin_(std::move(origin)), context_(context) {}

  Scenario read(const std::vector<Override>& overrides);

 private:
  JsonValue root() const { return JsonValue(json_, origin_); }
  void apply(const Override& override);
  std::vector<SystemSpec> read_systems() const;
  void refuse_unknown_axes() const;
  std::vector<AxisSetting> settings_of(const std::vector<AxisGroup>& groups) const;
  void add_points(Scenario& scenario, const SystemSpec& system, const AxisSetting& shared, std::size_t group);
  Point resolve_point(const SystemSpec& system, const Json& scenario_json, const Json& params);

  Json json_;
  std::string origin_;
  const ScenarioContext& context_;
  std::vector<AxisGroup> groups_;
  // By the scenario's text for each. Thousands of points share a few, and each is files to find, read and check.
  std::map<std::string, ModelGeometry> models_;
  std::map<std::string, Profile> profiles_;
};

/// The value of `key` in `known`, from `make` where it is not there yet.
template <typename Value, typename Make>
const Value& read_once(std::map<std::string, Value>& known, const JsonValue& key, Make make) {
  const std::string text = key.json().dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto found = known.find(text);
  return found != known.end() ? found->second : known.emplace(text, make(key)).first->second;
}

void Reader::apply(const Override& override) {
  const std::string& path = override.path;
  if (override.values.size() > 1) {
    // An axis of the command line replaces the file's axis of that name.
    if (json_.contains("axes")) json_["axes"].erase(path);
    json_["axes"][path] = override.values;
    return;
  }
  if (json_.contains("axes") && json_["axes"].contains(path)) {
    json_["axes"][path] = override.values;
    return;
  }
  if (path.starts_with("systems.")) {
    const std::string rest = path.substr(8);
    const std::string name = first_key(rest);
    bool found = false;
    for (Json& system : json_["systems"]) {
      if (system.is_string()) system = Json{{"name", system}};
      if (system.value("label", system.value("name", "")) != name && system.value("name", "") != name) continue;
      set_path(system, "params." + rest.substr(std::min(rest.size(), name.size() + 1)), override.values.front());
      found = true;
    }
    if (!found) throw ConfigError(fmt::format("--set {}: the scenario has no system {}", path, name));
    return;
  }
  if (is_top_level(path)) {
    set_path(json_, path, override.values.front());
  } else {
    json_["axes"][path] = override.values;  // a system parameter for every system that declares it
  }
}

std::vector<SystemSpec> Reader::read_systems() const {
  if (!root().has("systems")) root().fail("systems is missing: a list of system names or {name, params, axes}");
  const JsonValue list = root().key("systems").require_array();
  if (list.json().empty()) list.fail("found []; expected at least one system");
  std::vector<SystemSpec> systems;
  std::set<std::string> labels;
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    const JsonValue item = list.element(i);
    SystemSpec spec{.entry = nullptr, .label = "", .params = Json::object(), .own_axes = {}, .path = item.path()};
    if (item.json().is_string()) {
      spec.entry = &pipeline::find_system(item);
    } else {
      item.require_object().refuse_unknown_keys({"name", "label", "params", "axes", "zipped_axes"});
      if (!item.has("name")) item.fail("name is missing");
      spec.entry = &pipeline::find_system(item.key("name"));
      if (item.has("label")) spec.label = item.key("label").as_string();
      if (item.has("params")) spec.params = item.key("params").require_object().json();
      read_axes(item, "axes", "zipped_axes", spec.own_axes);
      for (const AxisGroup& group : spec.own_axes) {
        for (const std::string& path : group.paths) {
          if (!declares(*spec.entry, path)) {
            item.fail(fmt::format("axes: {} has no parameter {}{}", spec.entry->name, path,
                                  nearest_and_allowed(first_key(path), spec.entry->param_names())));
          }
        }
      }
    }
    if (spec.label.empty()) spec.label = spec.entry->name;
    if (!labels.insert(spec.label).second) {
      item.fail(fmt::format("two systems are called {}; give one of them a label", spec.label));
    }
    systems.push_back(std::move(spec));
  }
  return systems;
}

/// An axis that no system of the scenario declares collapses; one that no system at all declares is a typing error.
void Reader::refuse_unknown_axes() const {
  for (const AxisGroup& group : groups_) {
    for (const std::string& path : group.paths) {
      if (is_top_level(path)) continue;
      std::vector<std::string> known = kTopLevelKeys;
      bool declared = false;
      for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
        declared |= declares(entry, path);
        for (const std::string& name : entry.param_names()) known.push_back(name);
      }
      if (declared) continue;
      throw ConfigError(fmt::format("{}: axes.{}: neither a key of scenarios nor a parameter of any system{}", origin_,
                                    path, did_you_mean(first_key(path), known)));
    }
  }
}

ImportanceSpec read_importance(const JsonValue& root) {
  ImportanceSpec spec;
  if (!root.has("importance")) return spec;
  const JsonValue value = root.key("importance").require_object();
  value.refuse_unknown_keys({"kind", "preset", "file"});
  if (value.has("kind")) spec.kind = value.key("kind").as_string();
  if (spec.kind != "synthetic" && spec.kind != "recorded")
    value.key("kind").fail_expected("\"synthetic\" or \"recorded\"");
  if (value.has("preset")) spec.preset = value.key("preset").as_string();
  if (value.has("file")) spec.file = value.key("file").as_string();
  if (spec.kind == "recorded" && spec.file.empty()) value.fail("file is missing: recorded importance comes from one");
  return spec;
}

pipeline::SoftwarePath read_path(const JsonValue& root) {
  if (!root.has("software_path")) return pipeline::default_software_path(pipeline::PathKind::direct);
  const JsonValue value = root.key("software_path");
  std::vector<std::string> kinds;
  for (const auto& [name, kind] : EnumNames<pipeline::PathKind>::names) kinds.emplace_back(name);
  const auto kind_of = [&](const JsonValue& kind) {
    return EnumNames<pipeline::PathKind>::names[detail::read_choice(kind, kinds)].second;
  };
  if (value.json().is_string()) return pipeline::default_software_path(kind_of(value));
  value.require_object();
  if (!value.has("kind")) value.fail("kind is missing: expected \"prototype\", \"direct\" or \"gds\"");
  pipeline::SoftwarePath path = pipeline::default_software_path(kind_of(value.key("kind")));
  pipeline::software_path_params().read(value, path, {"kind"});
  return path;
}

/// At most this many, each a column.
std::vector<double> read_slos(const JsonValue& root) {
  constexpr std::size_t kMaxSlos = 16;
  std::vector<double> slos;
  if (!root.has("slo_ttft_ms")) return slos;
  const JsonValue list = root.key("slo_ttft_ms").require_array();
  if (list.json().size() > kMaxSlos) list.fail(fmt::format("more than {} objectives", kMaxSlos));
  for (std::size_t i = 0; i < list.json().size(); ++i) slos.push_back(list.element(i).as_number(0.001, 1e9, "ms"));
  return slos;
}

ModelGeometry read_model(const JsonValue& value, const ScenarioContext& context) {
  const std::string name = value.as_string();
  const std::filesystem::path shipped = context.models / (name + ".json");
  if (path_exists(shipped)) return read_model_config(shipped);
  if (path_exists(name)) {
    return read_model_config(folder_exists(name) ? std::filesystem::path(name) / "config.json"
                                                 : std::filesystem::path(name));
  }
  std::vector<std::string> known;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(context.models, error)) {
    known.push_back(entry.path().stem().string());
  }
  std::sort(known.begin(), known.end());
  value.fail(fmt::format("no model \"{}\": neither a shipped one nor a config.json{}", name,
                         nearest_and_allowed(name, known)));
}

/// What only shows when parameters, model and path meet.
void check_point(const Point& point, const JsonValue& params) {
  const Json& resolved = point.system_params;
  for (const char* key : {"period_layers", "subperiod_layers"}) {
    if (resolved.contains(key) && resolved.at(key).get<int>() > point.geometry.num_layers) {
      params.fail(fmt::format("{}: found {}; expected at most the model's {} layers", key, resolved.at(key).get<int>(),
                              point.geometry.num_layers));
    }
  }
  if (resolved.contains("probe_heads")) {
    for (const int head : resolved.at("probe_heads").get<std::vector<int>>()) {
      if (head >= point.geometry.num_query_heads) {
        params.fail(fmt::format("probe_heads: found {}; the model has query heads 0 to {}", head,
                                point.geometry.num_query_heads - 1));
      }
    }
  }
  std::vector<std::pair<std::string, std::uint32_t>> units;
  if (resolved.contains("chunk_tokens"))
    units.emplace_back("chunk_tokens", resolved.at("chunk_tokens").get<std::uint32_t>());
  if (resolved.contains("kv_layout")) {
    units.emplace_back("kv_layout.block_tokens", resolved.at("kv_layout").at("block_tokens").get<std::uint32_t>());
  }
  for (const auto& [key, tokens] : units) {
    if (point.store_block_tokens % tokens != 0) {
      params.fail(fmt::format("{}: found {}; it must divide store_block_tokens ({}): set store_block_tokens to {}", key,
                              tokens, point.store_block_tokens, std::lcm(point.store_block_tokens, tokens)));
    }
  }
}

Point Reader::resolve_point(const SystemSpec& system, const Json& scenario_json, const Json& params) {
  const JsonValue root(scenario_json, origin_);
  Point point;
  point.system = system.entry->name;
  point.label = system.label;
  point.origin = origin_;
  if (!root.has("model")) root.fail("model is missing: a shipped model such as \"qwen2.5-7b\" or a config.json");
  if (!root.has("profile")) root.fail("profile is missing: a shipped profile such as \"a800-990pro\" or its parts");
  if (!root.has("workload")) root.fail("workload is missing: {\"kind\": \"prefix_pool\" or \"trace\", ...}");
  point.geometry = read_once(models_, root.key("model"), [&](const JsonValue& v) { return read_model(v, context_); });
  if (root.has("kv_element_bytes")) {
    point.geometry.kv_element_bytes = static_cast<int>(root.key("kv_element_bytes").as_integer(1, 2, "bytes"));
  }
  if (root.has("weights")) weights_params().read(root.key("weights"), point.weights);
  if (point.weights.bytes_per_param) point.geometry.weight_element_bytes = *point.weights.bytes_per_param;
  point.profile = read_once(profiles_, root.key("profile"),
                            [&](const JsonValue& value) { return read_profile(value, context_.profiles); });
  point.path = read_path(root);
  point.workload = read_workload(root.key("workload"));
  point.importance = read_importance(root);
  const auto integer = [&](const char* key, std::int64_t fallback, std::int64_t minimum, std::int64_t maximum,
                           const char* unit) {
    return root.has(key) ? root.key(key).as_integer(minimum, maximum, unit) : fallback;
  };
  point.seed = static_cast<std::uint64_t>(integer("seed", 1, 0, INT64_MAX / 2, ""));
  point.store_block_tokens = static_cast<std::uint32_t>(integer("store_block_tokens", 64, 1, 65536, "tokens"));
  point.mass_requests = static_cast<std::uint64_t>(integer("mass_requests", 32, 0, 1'000'000, "requests"));
  point.slo_ttft_ms = read_slos(root);
  point.noise = root.has("noise") && root.key("noise").as_bool();
  point.keep_requests = root.has("keep_requests") && root.key("keep_requests").as_bool();
  // Assumed residuals of a datasheet profile say nothing of how far it is off: only on request.
  const std::int64_t range_replicas = point.profile.hypothetical || !point.profile.has_residuals() ? 0 : 20;
  point.range_replicas = static_cast<std::uint64_t>(integer("range_replicas", range_replicas, 0, 10'000, "replicas"));
  point.system_params = system.entry->resolve(JsonValue(params, origin_, system.path + ".params"), point.path.kind);
  check_point(point, JsonValue(params, origin_, system.path + ".params"));

  Json& resolved = point.resolved;
  resolved["system"] = point.system;
  resolved["params"] = point.system_params;
  resolved["model"] = write_model(point.geometry);
  resolved["weights"] = weights_params().write(point.weights);
  resolved["profile"] = point.profile.resolved;
  resolved["software_path"] = pipeline::software_path_params().write(point.path);
  resolved["software_path"]["kind"] = enum_name(point.path.kind);
  resolved["workload"] = point.workload.resolved;
  resolved["importance"] = {
      {"kind", point.importance.kind}, {"preset", point.importance.preset}, {"file", point.importance.file}};
  resolved["store_block_tokens"] = point.store_block_tokens;
  resolved["noise"] = point.noise;
  resolved["mass_requests"] = point.mass_requests;
  resolved["slo_ttft_ms"] = point.slo_ttft_ms;
  resolved["keep_requests"] = point.keep_requests;
  resolved["range_replicas"] = point.range_replicas;
  resolved["seed"] = point.seed;
  return point;
}

/// Refused before they are made: six axes of 20 values would take more memory than there is.
std::vector<AxisSetting> Reader::settings_of(const std::vector<AxisGroup>& groups) const {
  std::size_t count = 1;
  for (const AxisGroup& group : groups) {
    count *= std::max<std::size_t>(1, group.num_steps());
    if (count > kMaxPoints) root().fail(fmt::format("more than {} points", kMaxPoints));
  }
  return all_settings(groups);
}

/// Every setting of the axes that this system declares; the others collapse to one row.
void Reader::add_points(Scenario& scenario, const SystemSpec& system, const AxisSetting& shared, std::size_t group) {
  std::vector<AxisGroup> own;
  Json undeclared = Json::object();
  for (const AxisGroup& axis : groups_) {
    if (is_top_level(axis.paths.front())) continue;
    AxisGroup kept;
    for (std::size_t i = 0; i < axis.paths.size(); ++i) {
      if (declares(*system.entry, axis.paths[i])) {
        kept.paths.push_back(axis.paths[i]);
        kept.values.push_back(axis.values[i]);
      } else {
        undeclared[axis.paths[i]] = nullptr;
      }
    }
    if (!kept.paths.empty()) own.push_back(std::move(kept));
  }
  own.insert(own.end(), system.own_axes.begin(), system.own_axes.end());

  Json scenario_json = json_;
  for (const auto& [path, value] : shared) set_path(scenario_json, path, value);
  const JsonValue root(scenario_json, origin_);
  const std::int64_t repeats = root.has("repeats") ? root.key("repeats").as_integer(1, 100'000, "replicas") : 1;
  for (const AxisSetting& setting : settings_of(own)) {
    Json params = system.params;
    for (const auto& [path, value] : setting) set_path(params, path, value);
    Point point = resolve_point(system, scenario_json, params);
    for (const auto& [path, value] : shared) point.axes[path] = value;
    for (const auto& [path, value] : setting) point.axes[path] = value;
    for (const auto& [path, value] : undeclared.items()) point.axes[path] = value;
    point.group = group;
    for (std::int64_t replica = 0; replica < repeats; ++replica) {
      if (scenario.points.size() >= kMaxPoints) root.fail(fmt::format("more than {} points", kMaxPoints));
      Point copy = point;
      copy.index = scenario.points.size();
      copy.replica = static_cast<std::uint64_t>(replica);
      copy.resolved["replica"] = replica;
      scenario.points.push_back(std::move(copy));
    }
  }
}

Scenario Reader::read(const std::vector<Override>& overrides) {
  root().require_object();
  for (const Override& override : overrides) apply(override);
  root().refuse_unknown_keys(kTopLevelKeys);
  if (root().has("schema_version")) root().key("schema_version").as_integer(kSchemaVersion, kSchemaVersion, "");
  const std::vector<SystemSpec> systems = read_systems();
  read_axes(root(), "axes", "zipped_axes", groups_);
  refuse_unknown_axes();

  Scenario scenario;
  scenario.name = root().has("name") ? root().key("name").as_string() : std::filesystem::path(origin_).stem().string();
  if (root().has("description")) scenario.description = root().key("description").as_string();
  const auto add_axis_name = [&](const std::string& path) {  // in the order of the file, each once
    if (std::find(scenario.axis_names.begin(), scenario.axis_names.end(), path) == scenario.axis_names.end()) {
      scenario.axis_names.push_back(path);
    }
  };
  std::vector<AxisGroup> shared;
  for (const AxisGroup& group : groups_) {
    for (const std::string& path : group.paths) add_axis_name(path);
    const std::size_t num_shared =
        static_cast<std::size_t>(std::count_if(group.paths.begin(), group.paths.end(), is_top_level));
    if (num_shared == group.paths.size()) {
      shared.push_back(group);
    } else if (num_shared > 0) {
      throw ConfigError(fmt::format("{}: zipped_axes: {} mixes scenario keys and system parameters", origin_,
                                    fmt::join(group.paths, ", ")));
    }
  }
  for (const SystemSpec& system : systems) {
    for (const AxisGroup& group : system.own_axes) {
      for (const std::string& path : group.paths) add_axis_name(path);
    }
  }
  std::size_t group = 0;
  for (const AxisSetting& setting : settings_of(shared)) {
    for (const SystemSpec& system : systems) add_points(scenario, system, setting, group);
    ++group;
  }
  scenario.resolved = json_;
  return scenario;
}

}  // namespace

Json scenario_schema() {
  const auto object_of = [](const std::vector<ParamInfo>& infos) {
    Json properties = Json::object();
    for (const ParamInfo& info : infos) {
      const auto dot = info.name.find('.');
      if (dot == std::string::npos) {
        add_to_schema(properties, info);
        continue;
      }
      ParamInfo inner = info;
      inner.name = info.name.substr(dot + 1);
      Json& group = properties[info.name.substr(0, dot)];
      group["type"] = "object";
      add_to_schema(group["properties"], inner);
    }
    return Json{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  };
  const auto with_kind = [](Json object, const char* kind) {
    object["properties"]["kind"] = {{"const", kind}};
    object["required"] = {"kind"};
    return object;
  };
  const Json axes = {{"type", "object"}, {"additionalProperties", {{"type", "array"}, {"minItems", 1}}}};
  Json systems = Json::array();
  for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
    systems.push_back({{"const", entry.name}});
    systems.push_back({{"type", "object"},
                       {"required", {"name"}},
                       {"additionalProperties", false},
                       {"properties",
                        {{"name", {{"const", entry.name}}},
                         {"label", {{"type", "string"}}},
                         {"params", object_of(entry.params())},
                         {"axes", axes},
                         {"zipped_axes", {{"type", "array"}, {"items", axes}}}}}});
  }
  Json path = with_kind(object_of(pipeline::software_path_params().infos()), "prototype");
  path["properties"]["kind"] = {{"enum", {"prototype", "direct", "gds"}}};
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "Reprefill scenario"},
                 {"type", "object"},
                 {"required", {"model", "profile", "systems", "workload"}},
                 {"additionalProperties", false}};
  schema["properties"] = {
      {"schema_version", {{"const", kSchemaVersion}}},
      {"name", {{"type", "string"}}},
      {"description", {{"type", "string"}}},
      {"model", {{"type", "string"}}},
      {"profile", {{"type", {"string", "object"}}}},
      {"software_path", {{"oneOf", {{{"enum", {"prototype", "direct", "gds"}}}, path}}}},
      {"systems", {{"type", "array"}, {"minItems", 1}, {"items", {{"oneOf", systems}}}}},
      {"workload",
       {{"oneOf",
         {with_kind(object_of(prefix_pool_params().infos()), "prefix_pool"),
          with_kind(object_of(trace_params().infos()), "trace")}}}},
      {"importance",
       {{"type", "object"},
        {"additionalProperties", false},
        {"properties",
         {{"kind", {{"enum", {"synthetic", "recorded"}}}},
          {"preset", {{"type", "string"}}},
          {"file", {{"type", "string"}}}}}}},
      {"axes", axes},
      {"zipped_axes", {{"type", "array"}, {"items", axes}}},
      {"repeats", {{"type", "integer"}, {"minimum", 1}}},
      {"seed", {{"type", "integer"}, {"minimum", 0}}},
      {"noise", {{"type", "boolean"}}},
      {"store_block_tokens", {{"type", "integer"}, {"minimum", 1}}},
      {"mass_requests", {{"type", "integer"}, {"minimum", 0}}},
      {"kv_element_bytes", {{"enum", {1, 2}}}},
      {"weights", object_of(weights_params().infos())},
      {"keep_requests", {{"type", "boolean"}}},
      {"range_replicas", {{"type", "integer"}, {"minimum", 0}}},
      {"slo_ttft_ms", {{"type", "array"}, {"items", {{"type", "number"}, {"exclusiveMinimum", 0}}}}}};
  return schema;
}

Override parse_override(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw ConfigError(fmt::format("--set {}: expected path=value or path=value1,value2", text));
  }
  Override override{.path = text.substr(0, equals), .values = {}};
  std::string rest = text.substr(equals + 1);
  const auto as_json = [](const std::string& word) {
    Json value = Json::parse(word, nullptr, /*allow_exceptions=*/false);
    return value.is_discarded() ? Json(word) : value;
  };
  if (rest.front() == '{' || rest.front() == '[') {
    override.values.push_back(as_json(rest));
    return override;
  }
  for (std::size_t begin = 0; begin <= rest.size();) {
    const std::size_t comma = std::min(rest.find(',', begin), rest.size());
    override.values.push_back(as_json(rest.substr(begin, comma - begin)));
    begin = comma + 1;
  }
  return override;
}

Scenario read_scenario(const Json& json, const std::string& origin, const std::vector<Override>& overrides,
                       const ScenarioContext& context) {
  return Reader(json, origin, context).read(overrides);
}

Scenario read_scenario(const std::filesystem::path& file, const std::vector<Override>& overrides,
                       const ScenarioContext& context) {
  return read_scenario(read_json_file(file), file.string(), overrides, context);
}

}  // namespace reprefill::sim
