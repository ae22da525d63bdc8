// Why one request took as long as it did: its critical path, what the other systems of the scenario do with the same
// request, and what each change of hardware or software would give. Everything is simulated, nothing is estimated.
#pragma once

#include <atomic>
#include <optional>

#include "core/record/critical_path.hpp"
#include "core/record/time_classes.hpp"
#include "sim/simulation/run_point.hpp"
#include "study/explain/what_if.hpp"

namespace reprefill::study {

struct ExplainOptions {
  std::optional<std::size_t> point = {};  // default: the first point of `system`
  std::string system = "";                // label; "": contiguous_kv, where the scenario has it, else its first point
  std::uint64_t request = 0;              // of the measured ones, from 0
  std::size_t jobs = 1;
};

/// One request under one system.
struct ServedRequest {
  sim::Point point;
  sim::RecordedRequest recorded;
  record::TimeBreakdown time;
  std::vector<record::PathStep> path;

  Nanoseconds ttft() const { return recorded.times.first_token - recorded.times.arrival; }
};

struct ChangeResult {
  WhatIf what_if;
  Nanoseconds ttft{0};
};

struct Explanation {
  std::uint64_t request = 0;
  std::uint64_t num_warmup = 0;
  ServedRequest served;
  std::vector<ServedRequest> others;  // the other systems with the same settings, in the order of the scenario
  std::vector<ChangeResult> changes;  // the largest gain first; bounds after what can be changed
};

/// Throws ConfigError (no such point, system or request), Interrupted.
Explanation explain(const sim::Scenario& scenario, sim::SharedInputs& inputs, const ExplainOptions& options,
                    const std::atomic<bool>& interrupted);

}  // namespace reprefill::study
