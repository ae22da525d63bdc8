// The table of eviction policies: names, documentation, parameters, makers.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/params.hpp"
#include "core/cache/eviction_policy.hpp"

namespace reprefill::cache {

struct PolicyInfo {
  std::string name;
  std::string doc;
  std::string source;
  std::vector<ParamInfo> parameters;
  /// All parameters, defaults included, for the resolved configuration.
  std::function<Json(const JsonValue& params)> resolve;
  std::function<std::unique_ptr<EvictionPolicy>(const JsonValue& params)> make;
};

std::span<const PolicyInfo> eviction_policies();

/// nullptr when there is none of this name.
const PolicyInfo* find_eviction_policy(std::string_view name);
/// Reads a policy's name. Throws ConfigError with the known names.
const PolicyInfo& read_eviction_policy(const JsonValue& name);

/// With default parameters; the name must be known (REPREFILL_CHECK).
std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name);
/// `params` is an object of the policy's parameters. Throws ConfigError for an unknown key or a value out of range.
std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name, const JsonValue& params);

}  // namespace reprefill::cache
