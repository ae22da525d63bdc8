// Simulated trials of a search: each one is a row of the record, and none is run twice.
#pragma once

#include <atomic>

#include "core/record/result_folder.hpp"
#include "sim/simulation/run_point.hpp"

namespace reprefill::study {

enum class Objective : std::uint8_t { mean, p95, p99_ttft };

/// What is asked about: the same for all trials.
struct AdviseInputs {
  Json model;
  Json profile;
  Json workload;
  Json importance;
  Json software_path = "direct";
  Objective objective = Objective::mean;
  std::uint64_t seed = 1;
};

struct Trial {
  std::string purpose;  // "baseline", "crossover", "search", "what_if"
  std::string system;
  Json params = Json::object();
  Json workload = Json::object();  // keys that win over the inputs' workload
  Json profile = nullptr;          // null: the inputs' own
  std::string note = {};           // for people
};

/// The scenario of one trial, as a file would hold it.
Json scenario_of(const AdviseInputs& inputs, const Trial& trial);

class TrialRunner {
 public:
  struct Options {
    std::size_t jobs = 1;
    const std::atomic<bool>* interrupted = nullptr;
    std::function<void(std::size_t done)> on_trial = nullptr;
  };
  TrialRunner(const AdviseInputs& inputs, const sim::ScenarioContext& context, record::ResultFolder& folder,
              const Options& options)
      : inputs_(inputs), context_(context), folder_(folder), options_(options), shared_(context) {}

  /// Rows in the order of the trials: {"trial", "purpose", "system", "params", ..., "ttft_ms", "attention_mass_kept",
  /// "cache_bytes"}, or "infeasible" with the reason in place of the numbers. Trials that the folder's journal has are
  /// not run again: the sequence of calls must be the same.
  std::vector<Json> run(const std::vector<Trial>& trials);
  const std::vector<Json>& all_rows() const { return rows_; }

 private:
  Json simulate(const Trial& trial);

  const AdviseInputs& inputs_;
  const sim::ScenarioContext& context_;
  record::ResultFolder& folder_;
  Options options_;
  sim::SharedInputs shared_;
  std::vector<Json> rows_;
};

}  // namespace reprefill::study

template <>
struct reprefill::EnumNames<reprefill::study::Objective> {
  static constexpr std::pair<const char*, study::Objective> names[] = {
      {"mean", study::Objective::mean}, {"p95", study::Objective::p95}, {"p99_ttft", study::Objective::p99_ttft}};
};
