// Copies between host and GPU, as a session's lanes make them.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/cuda/gpu_driver.hpp"
#include "calibrate/meter/measurement.hpp"
#include "core/base/units.hpp"

namespace reprefill::calibrate {

/// Sources and destinations of copies: pinned, pageable and device memory, made once for all cells.
class GpuCopyBuffers;

inline constexpr Bytes kCopiedPiece{16 * 1024};

/// All: {bytes} ns, from the driver's wish to the end on the device, of one copy on idle lanes. A sample is the median
/// of several small ones: the clocks of host and device meet to a few microseconds only.
///   gather                                  pieces of 16 KiB in one launch: demand copies
///   prefetch, prefetch_single               the same pieces as prefetch copies them: many, and few one by one
///   copy_h2d_pinned, copy_d2h_pinned        one range by the copy engine
///   copy_h2d_pageable, copy_d2h_pageable
/// Cells without a driver, for a plan: it may be null then.
std::vector<std::unique_ptr<Cell>> gpu_copy_cells(bool full, GpuDriver* driver);

}  // namespace reprefill::calibrate
