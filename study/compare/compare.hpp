// Predicted against measured, on the same machine: `reprefill compare` (design 9).
#pragma once

#include "core/record/result_folder.hpp"
#include "study/compare/measured_requests.hpp"
#include "study/compare/point_comparison.hpp"
#include "study/compare/real_run.hpp"

namespace reprefill::study {

struct CompareOptions {
  std::size_t repeats = 7;
  std::uint64_t range_replicas = 40;
  Judgement judgement = {};
  RealRunOptions real = {};
  bool probe_drive = true;                 // beside the rounds of real runs, where these read past the page cache
  std::filesystem::path work_folder = {};  // for the store and the recorded importance; kept by the caller or not
  const std::atomic<bool>* interrupted = nullptr;
  /// Runs on the engine that are done, of all: recordings, repeats; before them, prefixes of the store.
  std::function<void(std::size_t done)> on_run = nullptr;
  std::function<void(std::size_t done, std::size_t all)> on_prefix = nullptr;
};

struct CompareResult {
  std::vector<Json> rows;  // one a point: what it is, and its comparison
  Json summary;
  Json timeline;  // Chrome trace: the first measured request of each point on both machines
};

MeasuredOn measured_on(const engine::Model& model);

/// What decides the result besides the machine itself: a journal goes on only with the same.
Json compare_inputs(const sim::Scenario& scenario, const MeasuredOn& on, const CompareOptions& options);

/// Number of engine runs: one recording and the repeats of every point.
std::size_t num_engine_runs(const sim::Scenario& scenario, const CompareOptions& options);

/// Recorded importance that an earlier comparison left in its work folder; the store may be used again.
void remove_recordings(const std::filesystem::path& work_folder);

/// Records what the engine chooses, then measures all points `repeats` times, interleaved, into the folder's journal;
/// runs that the journal has are not repeated. Throws ConfigError for what the engine cannot serve.
CompareResult compare(engine::Model& model, const sim::Scenario& scenario, sim::SharedInputs& inputs,
                      record::ResultFolder& folder, const CompareOptions& options);

/// Judges a journal that is whole once more, without engine, model or store: `measured` and the recordings in the work
/// folder say what was served. Throws ConfigError where a run is missing.
CompareResult judge_again(const sim::Scenario& scenario, const MeasuredRequests& measured, record::ResultFolder& folder,
                          const CompareOptions& options);

}  // namespace reprefill::study
