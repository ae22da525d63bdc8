// Does a drive work at reads one after the other, or at all of them alike?
#pragma once

#include <memory>
#include <vector>

#include "calibrate/meter/measurement.hpp"
#include "calibrate/storage/scratch_file.hpp"

namespace reprefill::calibrate {

/// Two groups of as many reads, queued together, the first before the second.
///   service   {bytes, group}   first_ns, all_ns: until the first group is done, until both are
/// First come first served: the first is done at half the time. All alike: both end together. `span` is the
/// file's size, which for a plan may be null.
std::unique_ptr<Cell> service_cell(const ScratchFile* file, Bytes span, bool unregistered_buffers);

}  // namespace reprefill::calibrate
