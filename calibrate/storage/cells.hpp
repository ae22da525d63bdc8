// What is measured of storage.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/meter/measurement.hpp"
#include "calibrate/storage/load.hpp"

namespace reprefill::calibrate {

struct StorageGrid {
  std::vector<Bytes> sizes;
  std::vector<std::uint32_t> depths;
  std::vector<std::uint32_t> ring_counts;  // beyond one: at the deepest, for every size
  std::vector<Pattern> patterns;
  double slice_s = 0.05;  // of one sample
  bool unregistered_buffers = false;
  /// Of the scratch file: loads that have more than a quarter of it in flight are left out, but two depths of each size
  /// are kept. They would read the same blocks several times at once.
  Bytes span{~std::uint64_t{0}};
};
StorageGrid quick_storage_grid();
StorageGrid full_storage_grid();

/// Reads over the grid, writes, reads mixed with writes, and the costs of io_uring's calls. The file is only looked at
/// when samples are taken: for a plan it may be null.
///   read        {pattern, bytes, depth, rings}   ns (of one read, wall time / reads), latency_p50_ns; extra: latencies
///   write       {bytes, depth}                   ns
///   mixed       {bytes, depth, write_bytes, write_depth}   read_ns, write_ns
///   io_calls    {bytes, depth}                   submit_ns, harvest_ns
///   service     service_cell.hpp
std::vector<std::unique_ptr<Cell>> storage_cells(const StorageGrid& grid, const ScratchFile* file);

/// Locks what the largest reads of the grid need and gives it back, so that a limit is said before a file is written.
/// Throws MachineError with the `ulimit` line; looks at nothing where buffers stay unregistered.
void require_locked_memory(const StorageGrid& grid);

/// A few of the reads once more, for the end of a calibration: how far the drive has drifted since. As `read`, with the
/// quantity read_again.
std::vector<std::unique_ptr<Cell>> read_again_cells(const StorageGrid& grid, const ScratchFile* file);

/// One deep read of the whole span, `count` samples of a second each: {bytes, depth} ns; extra: conditions.
std::unique_ptr<Cell> sustained_cell(const StorageGrid& grid, const ScratchFile* file);

}  // namespace reprefill::calibrate
