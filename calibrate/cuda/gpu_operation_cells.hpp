// The CUDA executor's operations over grids of query and key counts, in the streams and in the order of a session, and
// what the session itself adds to them.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/cpu/operation_cells.hpp"
#include "calibrate/cuda/gpu_layer_walk.hpp"

namespace reprefill::calibrate {

/// Finer than a CPU's: attention is split among multiprocessors, so its time is no straight line of the keys, and
/// linear layers bend where tiles fill them.
OperationGrid quick_gpu_grid();
OperationGrid full_gpu_grid();

/// Cells without a walk, for a plan: `walk` may be null then. As on a CPU (cpu/operation_cells.hpp), and:
///   attend_masked     {model, queries, keys, mask: "keys" | "values", kept_share}  masked_ns, plain_ns: the same
///   without
///                     a mask. Pages of 64 tokens, as impress and as_h2o store them; every KV head keeps its own
///   attend_pages      {model, queries, keys, page_tokens}  ns
///   operation_gap     {model}  ns
///   turnaround        {model}  ns
///   request_overhead  {model}  ns
///   select_scored     {model, keys, scores, by: "chunks" | "kv_heads" | "votes"}  ns
std::vector<std::unique_ptr<Cell>> gpu_operation_cells(const OperationGrid& grid, const ModelGeometry& geometry,
                                                       GpuLayerWalk* walk);

}  // namespace reprefill::calibrate
