// Small scenarios of one point, and the row that it gives.
#pragma once

#include <string>
#include <vector>

#include "sim/simulation/run_point.hpp"

namespace reprefill::sim {

inline ScenarioContext context() {
  const std::filesystem::path home = REPREFILL_SOURCE_DIR;
  return {.models = home / "scenarios" / "models",
          .profiles = home / "calibrate" / "profiles",
          .traces = {},
          .samples = home / "traces" / "samples"};
}

inline Json pool_scenario(const char* system) {
  return {{"model", "qwen2.5-0.5b"},
          {"profile", "a800-990pro"},
          {"systems", {system}},
          {"workload",
           {{"kind", "prefix_pool"},
            {"prefix_tokens", 1000},
            {"suffix_tokens", 20},
            {"num_prefixes", 6},
            {"warmup_requests", 3},
            {"measured_requests", 20}}},
          {"mass_requests", 1}};
}

inline Json trace_scenario(const char* system) {
  return {{"model", "qwen2.5-0.5b"},
          {"profile", "a800-990pro"},
          {"systems", {system}},
          {"workload", {{"kind", "trace"}, {"file", "conversation_small.jsonl"}, {"max_requests", 30}}},
          {"mass_requests", 1}};
}

/// One point and what reads its inputs.
class OnePoint {
 public:
  explicit OnePoint(const Json& json, const std::vector<std::string>& sets = {}) {
    std::vector<Override> overrides;
    for (const std::string& set : sets) overrides.push_back(parse_override(set));
    scenario_ = read_scenario(json, "test.json", overrides, context_);
    REPREFILL_CHECK(scenario_.points.size() == 1, "{} points", scenario_.points.size());
  }
  const Point& point() const { return scenario_.points.front(); }
  void check() { check_inputs(point(), inputs_); }
  RunResult run(const RunOptions& options) { return run_point(point(), inputs_, options); }
  Json row(const RunOptions& options = {}) { return run(options).row; }

 private:
  ScenarioContext context_ = context();
  SharedInputs inputs_{context_};
  Scenario scenario_;
};

}  // namespace reprefill::sim
