// How a system's file turns its parameter table into a row of the table of systems.
#pragma once

#include <utility>

#include "core/pipeline/system.hpp"

namespace reprefill::pipeline {

/// `defaults(path)` gives the parameters that a scenario does not name; `finish` fills those that follow from others
/// and refuses combinations.
template <typename Params>
SystemEntry make_system_entry(std::string name, std::string doc, ParamTable<Params> table,
                              std::function<Params(PathKind)> defaults,
                              std::function<void(Params&, const JsonValue&)> finish,
                              std::function<std::unique_ptr<System>(const Params&, const SystemEnvironment&)> make) {
  SystemEntry entry;
  entry.name = std::move(name);
  entry.doc = std::move(doc);
  entry.resolve = [table, defaults, finish](const JsonValue& object, PathKind path) {
    Params params = defaults(path);
    table.read(object, params);
    finish(params, object);
    return table.write(params);
  };
  entry.make = [table, make](const Json& resolved, const SystemEnvironment& environment) {
    Params params;
    table.read(JsonValue(resolved, "resolved parameters"), params);
    return make(params, environment);
  };
  entry.params = [table] { return table.infos(); };
  entry.param_names = [table] { return table.names(); };
  return entry;
}

// One per file in systems/.
SystemEntry recompute_entry();
SystemEntry resident_entry();
SystemEntry oracle_entry();
SystemEntry attention_store_entry();
SystemEntry hybrid_entry();
SystemEntry lmcache_like_entry();
SystemEntry hicache_like_entry();
SystemEntry as_h2o_entry();
SystemEntry impress_entry();
SystemEntry contiguous_kv_entry();

}  // namespace reprefill::pipeline
