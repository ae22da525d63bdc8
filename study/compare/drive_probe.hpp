// The drive beside the real runs: what it takes for a few kinds of reads, when a comparison measures.
#pragma once

#include <array>
#include <vector>

#include "calibrate/storage/load.hpp"
#include "engine/store/store.hpp"

namespace reprefill::study {

/// A kind of random read that calibration measures too, whatever its effort. The small and the large ones that a store
/// is read with, one at a time and as many as the paths put in flight.
struct DriveCell {
  Bytes size;
  std::uint32_t depth = 1;
};
inline constexpr std::array<DriveCell, 8> kDriveCells = {{{Bytes{16 << 10}, 1},
                                                          {Bytes{16 << 10}, 128},
                                                          {Bytes{128 << 10}, 1},
                                                          {Bytes{128 << 10}, 128},
                                                          {Bytes{512 << 10}, 1},
                                                          {Bytes{512 << 10}, 32},
                                                          {Bytes{4096 << 10}, 1},
                                                          {Bytes{4096 << 10}, 4}}};

/// All cells once.
struct DriveProbe {
  std::size_t num_runs_before = 0;  // of the comparison's rounds of real runs
  struct Value {
    DriveCell cell;
    double ns = 0;  // from one read to the next
  };
  std::vector<Value> values;  // cells whose reads fit no file of the store are not there
};
Json to_json(const DriveProbe& probe);
DriveProbe drive_probe_from_json(const Json& json);

/// Reads random places of the store's own files, past the page cache: no scenario's requests, on the very blocks that
/// they read.
class DriveMeter {
 public:
  /// Throws MachineError where the file system refuses O_DIRECT.
  DriveMeter(const engine::Store& store, bool unregistered_buffers);
  /// Some 40 ms a cell. `number` decides the places: no two probes read the same.
  DriveProbe measure(std::size_t num_runs_before, std::uint64_t number) const;

 private:
  std::vector<engine::StoreFile> files_;
  std::vector<calibrate::ReadTarget> targets_;
  bool unregistered_buffers_;
};

}  // namespace reprefill::study
