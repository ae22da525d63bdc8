// The CUDA executor's operations over grids of query and key counts, in the streams and in the order of a session, and
// what the session itself adds to them.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/cpu/operation_cells.hpp"
#include "calibrate/cuda/gpu_driver.hpp"
#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::calibrate {

/// Finer than a CPU's: attention is split among multiprocessors, so its time is no straight line of the keys.
OperationGrid quick_gpu_grid();
OperationGrid full_gpu_grid();

/// Enough layers that weights come from memory and not from the L2 cache, and that the host has caught up with the
/// device after the first; never more than the model has.
int num_gpu_layers(const ModelGeometry& geometry);

/// Requests that go through all layers of a checkpoint, one operation behind the other, the host running ahead. Stored
/// K and V of each layer lie in places of their own, in pages of 16 tokens in scrambled order, as caches leave them.
class GpuLayerWalk {
 public:
  GpuLayerWalk(GpuDriver& driver, std::uint32_t most_keys);

  /// Means over all layers but the first, during which the host has no lead yet.
  struct Timing {
    double project_ns = 0, score_ns = 0, score_probe_ns = 0, attend_ns = 0;
    double gap_ns = 0;    // from one operation's end to the next one's start
    double total_ns = 0;  // of all layers
  };
  /// Both kinds of scoring run between project and attend where there are keys: multiples of 16.
  Timing walk(std::uint32_t queries, std::uint32_t keys);
  double first_token_ns();
  /// What it costs that the host decides between a score and the next attend: from the score's end to the attend's,
  /// less an attend that runs behind others. Completion, a thread for the selection, submission; and while the host has
  /// no lead, the attend waits for its launches.
  double turnaround_ns();
  /// A choice from `num_scores` fresh ones in four groups, on the host's thread.
  double select_ns(std::size_t num_scores);
  /// What a request takes beside its operations: three host tasks and their threads, the sequence's memory, the first
  /// projection without a lead of the host, and the completion of the last operation.
  double request_overhead_ns();

  const ModelGeometry& geometry() const;
  std::uint32_t most_keys() const { return most_keys_; }
  GpuDriver& driver() { return driver_; }

 private:
  struct StoredLayer {
    engine::GpuArray<std::byte> keys, values;
    std::vector<KvPage> pages;
  };
  std::unique_ptr<engine::Sequence> begin(std::uint32_t queries, std::uint32_t keys);
  void fill(StoredLayer& layer, const std::vector<std::byte>& random, std::uint64_t seed);
  Step project(engine::Sequence& sequence, int layer_idx);
  Step score(engine::Sequence& sequence, int layer_idx, std::uint32_t keys, bool probes);
  Step attend(engine::Sequence& sequence, int layer_idx, std::uint32_t keys);

  GpuDriver& driver_;
  std::uint32_t most_keys_;
  std::vector<int> probe_heads_;
  std::vector<StoredLayer> layers_;
  std::uint64_t num_selections_ = 0;
  std::shared_ptr<std::byte> scores_;  // pinned
};

/// Cells without a walk, for a plan: `walk` may be null then. As on a CPU (cpu/operation_cells.hpp), and:
///   operation_gap     {model}  ns
///   turnaround        {model}  ns
///   request_overhead  {model}  ns
///   select_scores     {model, scores}  ns
std::vector<std::unique_ptr<Cell>> gpu_operation_cells(const OperationGrid& grid, const ModelGeometry& geometry,
                                                       GpuLayerWalk* walk);

}  // namespace reprefill::calibrate
