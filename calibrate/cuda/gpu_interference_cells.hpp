// How much longer work takes while other work runs beside it: the pairs of design 5 on a GPU.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/cuda/gpu_operation_cells.hpp"
#include "calibrate/storage/load.hpp"

namespace reprefill::calibrate {

/// Storage may be missing: then its pairs are.
struct GpuInterferenceParts {
  const ScratchFile* file = nullptr;
  bool has_storage = false;
  GpuLayerWalk* walk = nullptr;
  bool unregistered_buffers = false;
};

///   interference {slowed, by}   factor: duration beside the other / alone, the one right after the other
/// Activities: ssd_read, h2d, d2h, gather, gemm, attention. gemm and attention share a stream and never meet; h2d and
/// gather share the link, which the simulator's lanes divide already.
std::vector<std::unique_ptr<Cell>> gpu_interference_cells(const GpuInterferenceParts& parts);

}  // namespace reprefill::calibrate
