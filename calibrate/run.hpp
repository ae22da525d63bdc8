// Runs a plan: measures its parts in order, keeps raw samples, and leaves the machine as it was.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "calibrate/plan.hpp"
#include "core/base/progress.hpp"
#include "core/record/result_folder.hpp"
#include "engine/executor/open_executor.hpp"

namespace reprefill::calibrate {

struct RunOptions {
  std::filesystem::path out;  // raw samples go to out/raw, random checkpoints to out/scratch while they are needed
  record::ResultFolder::Mode mode = record::ResultFolder::Mode::fresh;
  ProgressMode progress = ProgressMode::automatic;
  const std::atomic<bool>* interrupted = nullptr;
  /// What --device cuda measures; tests put an emulated GPU here.
  std::function<std::unique_ptr<engine::Executor>(const engine::Checkpoint&, const engine::ExecutorOptions&)>
      open_executor = engine::open_executor;
};

struct Measurements {
  std::vector<Measured> cells;
  std::vector<double> fill_rates_bytes_per_s;  // writing the scratch file, by tenths
  double cached_share = 0;                     // of the scratch file, after all reads
  Conditions before, after;
  std::vector<std::string> disturbances;
  std::vector<std::filesystem::path> removed_leftovers;
  double wall_s = 0;
  int num_threads = 0;   // of the executor
  std::string gpu_name;  // with --device cuda, as the next two
  Bytes gpu_memory;
  Json gpu_conditions = Json::array();  // before and after
  int num_probe_heads(const ModelGeometry& geometry) const { return std::min(3, geometry.group_size()); }
};

/// Throws Interrupted with finished samples kept, MachineError where the page cache served reads.
Measurements run_plan(const Plan& plan, const RunOptions& options);

}  // namespace reprefill::calibrate
