// Miss-ratio curves: what each cache policy misses at each size, beside what a cache that knows the future would.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "sim/simulation/run_point.hpp"

namespace reprefill::study {

struct MissRatioOptions {
  std::string system = "contiguous_kv";                              // label
  std::vector<std::string> policies = {};                            // default: all
  std::vector<double> sizes = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1};  // both tiers together, over the working set
  std::size_t jobs = 1;
};

struct MissRatioRow {
  double size = 0;  // of the working set
  Bytes capacity;   // GPU and host tier, in the ratio of the scenario
  std::uint64_t accesses = 0;
  std::vector<double> miss_ratio;  // by policy
  double belady = 0;
};

struct MissRatios {
  std::vector<std::string> policies;
  std::vector<MissRatioRow> rows;
};

/// At the scenario's first point of the system, one request in flight. What is wanted does not depend on the cache, so
/// all policies see the same accesses. Throws ConfigError, Interrupted.
MissRatios miss_ratios(const sim::Scenario& scenario, sim::SharedInputs& inputs, const MissRatioOptions& options,
                       const std::atomic<bool>& interrupted);

std::string miss_ratio_text(const MissRatios& ratios);
Json miss_ratio_json(const MissRatios& ratios);

}  // namespace reprefill::study
