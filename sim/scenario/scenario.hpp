// A scenario file: one experiment. Reading it gives the list of points to simulate, each resolved and checked.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/pipeline/system.hpp"
#include "sim/devices/profile.hpp"
#include "sim/scenario/memory_plan.hpp"
#include "sim/scenario/workload_spec.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::sim {

/// Where shipped models and profiles lie, and what a scenario's relative paths start from.
struct ScenarioContext {
  std::filesystem::path models;
  std::filesystem::path profiles;
  std::filesystem::path traces;  // empty where $REPREFILL_TRACES is not set and ../shared/traces is not there
  std::filesystem::path samples;
};

struct ImportanceSpec {
  std::string kind = "synthetic";
  std::string preset = "paper-5pct";
  std::string file;
};

/// One row of the result: a system with its parameters on one setting of every axis, and one replica.
struct Point {
  std::size_t index = 0;
  std::string origin;  // the scenario file, for errors and relative paths
  std::string system;
  std::string label;           // system, or the scenario's own name for this entry
  Json axes = Json::object();  // axis -> value, null where the system does not declare it
  std::uint64_t replica = 0;
  std::uint64_t seed = 1;
  std::size_t group = 0;  // points of one group share their warm-up count
  Json resolved;          // everything that decides the result

  ModelGeometry geometry;  // with the scenario's element sizes
  WeightsSpec weights;
  Profile profile;
  pipeline::SoftwarePath path;
  Json system_params;
  WorkloadSpec workload;
  ImportanceSpec importance;
  std::uint32_t store_block_tokens = 64;
  bool noise = false;
  std::uint64_t mass_requests = 32;
  std::vector<double> slo_ttft_ms;   // rows say what share of requests met each
  bool keep_requests = false;        // the row lists the TTFT of every measured request
  std::uint64_t range_replicas = 0;  // behind the row's prediction range; 0: none
};

struct Scenario {
  std::string name;
  std::string description;
  std::vector<Point> points;
  std::vector<std::string> axis_names;
  Json resolved;  // the scenario with defaults and overrides, for the result folder
};

/// `--set path=v1,v2` on the command line: wins over the file; several values make an axis.
struct Override {
  std::string path;
  std::vector<Json> values;
};
Override parse_override(const std::string& text);

/// Throws ConfigError naming file and key path.
Scenario read_scenario(const std::filesystem::path& file, const std::vector<Override>& overrides,
                       const ScenarioContext& context);
Scenario read_scenario(const Json& json, const std::string& origin, const std::vector<Override>& overrides,
                       const ScenarioContext& context);

/// JSON Schema (2020-12) of scenario files, made from the components' declarations.
Json scenario_schema();

}  // namespace reprefill::sim
