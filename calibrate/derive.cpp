#include "calibrate/derive.hpp"

#include "sim/devices/profile.hpp"

namespace reprefill::calibrate {
namespace {

constexpr const char* kParts[] = {"gpu", "ssd", "link", "host"};

/// Numbers without a dimension are JSON numbers; those with one keep their unit.
Json value_of(const std::string& text) {
  std::size_t used = 0;
  try {
    const double number = std::stod(text, &used);
    if (used == text.size())
      return number == static_cast<double>(static_cast<std::int64_t>(number)) ? Json(static_cast<std::int64_t>(number))
                                                                              : Json(number);
  } catch (const std::exception&) {  // a string with a unit, or one that the profile refuses with its name
  }
  return text;
}

/// As a scenario's `profile` would say it.
Json scenario_of(const std::string& base, const std::map<std::string, PartChanges>& changes) {
  Json scenario = Json::object();
  if (!base.empty()) scenario["name"] = base;
  for (const auto& [part, change] : changes) {
    Json object = Json::object();
    const std::string from = change.from.empty() ? base : change.from;
    if (!from.empty()) object["from"] = from;
    for (const auto& [name, value] : change.numbers) object[name] = value_of(value);
    scenario[part] = std::move(object);
  }
  return scenario;
}

/// The part as its bundle has it, tables and sources included.
Json original_part(const std::string& part, const std::string& bundle, const std::filesystem::path& shipped) {
  const Json model = sim::read_bundle(sim::find_bundle(bundle, shipped)).at("model");
  return model.contains(part) ? model.at(part) : Json::object();
}

Json write_part(const std::string& part, const Json& resolved, const Json& original, const PartChanges& change,
                const std::string& from) {
  Json json = original;
  if (change.numbers.empty()) return json;
  json.erase("operations");  // measured on another part than this
  if (resolved.contains("read_curve")) json["read_curve"] = resolved.at("read_curve");
  for (const auto& [key, value] : resolved.items()) {
    if (key == "operations" || key == "read_curve" || (json.contains(key) && json.at(key) == value)) continue;
    json[key] = value;
    if (key == "name") continue;
    const std::string before = original.contains(key) ? original.at(key).dump() : "absent";
    json["sources"][key] =
        fmt::format("assumption: `reprefill profile derive` on {}.{}, where it was {}", from, part, before);
  }
  if (!change.numbers.contains("name")) json["name"] = original.value("name", part) + ", derived";
  return json;
}

}  // namespace

DerivedBundle derive_bundle(const std::string& base, const std::map<std::string, PartChanges>& changes,
                            const std::string& name, const std::filesystem::path& shipped) {
  const Json scenario = scenario_of(base, changes);
  const sim::Profile profile = sim::read_profile(JsonValue(scenario, "reprefill profile derive"), shipped);
  DerivedBundle bundle;
  bundle.meta = {{"schema_version", 1},
                 {"name", name},
                 {"kind", "hypothetical"},
                 {"hardware", fmt::format("{}; {}; {}; {}", profile.gpu.name, profile.ssd.name, profile.link.name,
                                          profile.host.name)},
                 {"method", "reprefill profile derive, from " + scenario.dump()}};
  bundle.model = {{"schema_version", sim::kBundleSchemaVersion}};
  for (const char* part : kParts) {
    const auto found = changes.find(part);
    const PartChanges change = found == changes.end() ? PartChanges{} : found->second;
    const std::string from = change.from.empty() ? base : change.from;
    bundle.model[part] = write_part(part, profile.resolved.at(part), original_part(part, from, shipped), change, from);
  }
  bundle.model["interference"] = profile.resolved.value("interference", Json::array());
  return bundle;
}

}  // namespace reprefill::calibrate
