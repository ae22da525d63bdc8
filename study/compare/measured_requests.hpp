// What the simulator needs of a measured comparison to be held against it again, where neither model nor store are.
#pragma once

#include <filesystem>
#include <vector>

#include "core/pipeline/request.hpp"

namespace reprefill::study {

struct MeasuredPoint {
  std::vector<pipeline::Request> requests;  // warm-up first; resolved, accounts empty
  std::size_t num_warmup = 0;
};

/// Where it was measured.
struct MeasuredOn {
  std::string model;
  std::uint64_t fingerprint = 0;
  std::string executor;
};

struct MeasuredRequests {
  MeasuredOn on;
  std::vector<std::uint32_t> segment_tokens;  // [segment of the store]
  std::vector<MeasuredPoint> points;          // [point of the scenario]
};

/// `requests.json` in a comparison's work folder. Throws MachineError (disk).
void write_measured(const std::filesystem::path& work_folder, const MeasuredRequests& measured);
/// Throws ConfigError: no such file, a field that is missing or out of bounds.
MeasuredRequests read_measured(const std::filesystem::path& work_folder);

}  // namespace reprefill::study
