// One point's result as JSON: everything that does not depend on the clock of the wall (design 6, semantics 5 to 7).
#pragma once

#include <array>

#include "core/pipeline/system.hpp"
#include "sim/devices/io_histogram.hpp"
#include "sim/devices/operation_model.hpp"
#include "sim/simulation/request_plan.hpp"
#include "sim/simulation/request_statistics.hpp"

namespace reprefill::sim {

/// Of the keys of a row: a sweep does not go on with rows of another version.
inline constexpr int kRowSchemaVersion = 4;

struct RowInputs {
  const Point& point;
  const RequestStatistics& statistics;
  const RequestPlan& plan;
  pipeline::System& system;
  const cache::DecisionLog& decisions;
  const OperationModel& operations;
  std::uint64_t num_warmup = 0;
  std::string importance_mismatch = {};  // recorded importance only (importance_mismatch.hpp)
  IoHistogram io;                        // of the measured requests
  std::uint64_t num_decode_steps = 0;
  std::array<Nanoseconds, record::kNumResources> busy{};
  Nanoseconds measured_time{0};
};

Json make_result_row(const RowInputs& inputs);

/// Hash of everything that decides a row: its resolved point and the schema.
std::string inputs_hash(const Point& point);

}  // namespace reprefill::sim
