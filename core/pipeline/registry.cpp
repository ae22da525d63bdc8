// The table of systems: a new one is its file, one declaration in system_entry.hpp and one row here.
#include "core/cache/eviction/registry.hpp"
#include "core/base/nearest_name.hpp"
#include "core/pipeline/system_entry.hpp"
#include "core/pipeline/system_params.hpp"

namespace reprefill::pipeline {

namespace {

std::vector<SystemEntry>& table() {
  static std::vector<SystemEntry> systems = {
      recompute_entry(),    resident_entry(),     oracle_entry(), attention_store_entry(), hybrid_entry(),
      lmcache_like_entry(), hicache_like_entry(), as_h2o_entry(), impress_entry(),         contiguous_kv_entry()};
  return systems;
}

}  // namespace

const std::vector<SystemEntry>& system_registry() { return table(); }

void register_system(SystemEntry system, const std::string& origin) {
  for (const SystemEntry& known : table()) {
    if (known.name == system.name) {
      throw ConfigError(fmt::format("{}: there is a system \"{}\" already", origin, system.name));
    }
  }
  table().push_back(std::move(system));
}

const SystemEntry& find_system(const JsonValue& name) {
  const std::string wanted = name.as_string();
  std::vector<std::string> known;
  for (const SystemEntry& system : system_registry()) {
    if (system.name == wanted) return system;
    known.push_back(system.name);
  }
  name.fail(fmt::format("unknown system \"{}\"{}", wanted, nearest_and_allowed(wanted, known)));
}

std::vector<std::string> cache_policy_names() {
  std::vector<std::string> names;
  for (const cache::PolicyInfo& policy : cache::eviction_policies()) names.push_back(policy.name);
  return names;
}

}  // namespace reprefill::pipeline
