// Copies between host and GPU, as a session's lanes make them.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/cuda/gpu_driver.hpp"
#include "calibrate/meter/measurement.hpp"

namespace reprefill::calibrate {

/// Sources and destinations of copies: pinned, pageable and device memory, made once for all cells.
class GpuCopyBuffers;

/// All: {bytes} ns, from the driver's wish to the end on the device, of one copy on idle lanes.
///   gather                                  pieces of 16 KiB in one launch: demand copies
///   prefetch                                the same pieces as prefetch copies them
///   copy_h2d_pinned, copy_d2h_pinned        one range by the copy engine
///   copy_h2d_pageable, copy_d2h_pageable
/// Cells without a driver, for a plan: it may be null then.
std::vector<std::unique_ptr<Cell>> gpu_copy_cells(bool full, GpuDriver* driver);

}  // namespace reprefill::calibrate
