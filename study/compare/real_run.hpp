// A point's requests on the engine: once to record what it chose, then as often as times are wanted.
#pragma once

#include <filesystem>

#include "study/compare/machine_run.hpp"
#include "study/compare/workload.hpp"

namespace reprefill::study {

struct RealRunOptions {
  bool buffered_reads = false;
  bool unregistered_buffers = false;
  const std::atomic<bool>* interrupted = nullptr;
};

/// A fresh session with cold caches serves all prompts. With `record` the importance trace goes to that file.
MachineRun run_on_engine(engine::Model& model, const engine::Store& store, const sim::Point& point,
                         const CompareWorkload& workload, const RealRunOptions& options,
                         const std::filesystem::path& record = {});

/// For asking a point's system what it declares, without a store.
pipeline::SystemEnvironment environment_of(const sim::Point& point);

/// The requests as the engine resolves them, for the simulator: their stored prefixes and what is left to compute.
std::vector<pipeline::Request> resolve_requests(const engine::Store& store, const sim::Point& point,
                                                const CompareWorkload& workload);

}  // namespace reprefill::study
