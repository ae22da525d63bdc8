// Reads of a store's segment files: io_uring with O_DIRECT, or the page cache on the prototype path.
#pragma once

#include <memory>

#include "core/pipeline/software_path.hpp"
#include "engine/real_machine/clock.hpp"
#include "engine/real_machine/read_source.hpp"
#include "engine/store/store.hpp"

namespace reprefill::engine {

struct StoreReadOptions {
  const Store* store = nullptr;
  std::size_t layout_idx = 0;
  const pipeline::SoftwarePath* path = nullptr;
  Bytes staging;  // room for demand and prefetched reads; what does not fit lands in unregistered memory
  bool buffered = false;
  bool unregistered_buffers = false;
  Gpu* gpu = nullptr;  // that copies from staging: it is pinned
  bool verify = false;
  std::uint32_t calibration_requests = 0;  // of a layout with a permutation: what every order must come from
};

class StoreReads : public ReadSource {
 public:
  /// For output: file system, direct or buffered, registered or not.
  virtual std::string describe() const = 0;
  /// [token] -> place, of the very file that is read; empty: the tokens' own order. Valid as long as this object.
  virtual std::span<const std::uint32_t> token_places(SegmentId segment, int layer_idx) = 0;
};

/// Files are opened when they are first asked for; opening one of a reordered layout throws ConfigError where its order
/// comes from another number of requests than wanted. Throws MachineError where io_uring, O_DIRECT or locked memory is
/// not to be had, with what to do.
std::unique_ptr<StoreReads> open_store_reads(const StoreReadOptions& options, const RunClock& clock);

}  // namespace reprefill::engine
