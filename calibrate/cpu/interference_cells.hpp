// How much longer work takes while other work runs beside it: the pairs of design 5 that a CPU has.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/cpu/operation_cells.hpp"
#include "calibrate/storage/load.hpp"

namespace reprefill::calibrate {

/// Storage may be missing (then its pairs are), compute too.
struct InterferenceParts {
  const ScratchFile* file = nullptr;
  bool has_storage = false;
  bool has_compute = false;
  LayerWalk* walk = nullptr;
  double slice_s = 0.03;  // of reads
  bool unregistered_buffers = false;
};

///   interference {slowed, by}   factor: duration beside the other / alone, the one right after the other
/// Activities: ssd_read, copy, gemm, attention. gemm and attention share one lane and never meet.
std::vector<std::unique_ptr<Cell>> interference_cells(const InterferenceParts& parts, Clock& clock);

}  // namespace reprefill::calibrate
