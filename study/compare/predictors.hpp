// What else could have predicted the TTFT: two formulas without a simulator, and our model with a part of it left out.
// They show what each part buys.
#pragma once

#include <string>
#include <vector>

#include "core/model/geometry.hpp"
#include "core/pipeline/software_path.hpp"
#include "sim/devices/profile.hpp"
#include "study/compare/machine_run.hpp"

namespace reprefill::study {

/// What a formula knows of a request: bytes, reads and tokens as they really were.
struct FormulaInput {
  const ModelGeometry& geometry;
  const sim::Profile& profile;
  const pipeline::SoftwarePath& path;
  const pipeline::Request& request;
  const Json& account;
};

/// Requested bytes / read bandwidth + FLOPs / (peak x GEMM efficiency): nothing overlaps, nothing costs a call.
Nanoseconds bandwidth_and_flops(const FormulaInput& input);
/// Linear in objects: every read costs the drive's latency, the path's fixed cost and submission, besides its bytes;
/// every operation of the GPU its overhead, besides its FLOPs. Nothing overlaps.
Nanoseconds per_object_linear(const FormulaInput& input);

/// Our model with a part left out.
struct AblatedModel {
  std::string name;
  sim::Profile profile;
  pipeline::SoftwarePath path;
};
/// minus_interference: nothing slows anything down; minus_depth: latencies of reads do not overlap (one channel);
/// minus_software_path: no fixed costs of objects, submissions, layers, synchronising, selections and tokens.
std::vector<AblatedModel> ablated_models(const sim::Profile& profile, const pipeline::SoftwarePath& path);

}  // namespace reprefill::study
