// One system with its parameters: the real repeats beside the prediction, in every respect that design 9 names.
#pragma once

#include "study/compare/cells.hpp"
#include "study/compare/machine_run.hpp"
#include "study/compare/predictors.hpp"
#include "study/compare/simulated_session.hpp"

namespace reprefill::study {

struct PointInputs {
  const SimulatedSessionOptions& simulation;
  const sim::Profile& profile;
  const sim::SsdProfile* drive_then = nullptr;  // as it was while the repeats were measured; null: not known
  std::span<const pipeline::Request> requests;  // warm-up first
  std::size_t num_warmup = 0;
  std::span<const MachineRun> repeats;  // real
  bool timing_dependent = false;        // only distributions are comparable
  std::uint64_t range_replicas = 40;
  Judgement judgement;
};

/// Whether bytes, reads and cache decisions of every real repeat are the simulator's.
struct Equality {
  bool is_checked = false;
  bool is_equal = false;
  std::string first_difference;
};

struct AlternativePrediction {
  std::string name;
  Cell mean;                   // of the point
  std::vector<Cell> requests;  // as of our own model; empty where only distributions are compared
};

struct PointComparison {
  Cell ttft;  // mean over the measured requests
  bool is_io_bound = false;
  std::vector<Cell> requests;  // empty where only distributions are compared
  std::vector<Cell> distribution;
  std::optional<double> distribution_distance;
  std::vector<Cell> classes;            // mean per request
  std::vector<Cell> spans;              // summed service of each kind, mean per request
  std::string worst_class, worst_span;  // by the difference in ms
  Equality equality;
  std::vector<AlternativePrediction> alternatives;
  std::optional<AlternativePrediction> drive_then;  // the same model, with the drive as it was then
  std::vector<RangeCoverage> ranges;                // of each request, or of the point's mean
  MachineRun predicted;
};

PointComparison compare_point(const PointInputs& inputs);

Json to_json(const PointComparison& comparison);

}  // namespace reprefill::study
