// The CPU executor's operations over grids of query and key counts.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/meter/measurement.hpp"
#include "calibrate/session/lane_meter.hpp"
#include "engine/executor/executor.hpp"

namespace reprefill::calibrate {

struct OperationGrid {
  std::vector<std::uint32_t> queries;
  std::vector<std::uint32_t> keys;
};
/// With edges of the executor's tiles, and both sides of where a block of prefill ends.
OperationGrid quick_operation_grid();
OperationGrid full_operation_grid();

/// An executor and what it needs to be asked for layers one after the other; shared by the cells of one model. Calls go
/// from layer to layer, so that weights come from where they come from in a request; stored KV is another at each
/// layer; and every operation is handed to a lane's thread by one that then sleeps, as in a session: the executor's own
/// threads have begun to doze by the time it starts.
class LayerWalk {
 public:
  LayerWalk(engine::Executor& executor, std::uint32_t most_keys);

  struct Timing {
    double project_ns = 0, score_ns = 0, score_probe_ns = 0, attend_ns = 0;
  };
  /// One layer of a request with these own and stored tokens; the next layer at the next call of the same shape.
  Timing time_layer(std::uint32_t queries, std::uint32_t keys);
  /// What a request costs the executor before its first layer.
  double time_begin(std::uint32_t queries);
  /// Logits of the last own token and its choice, after a walk of one query through all layers (not timed).
  double time_first_token();
  /// A new request at the next call: what the cell before left half-way is dropped.
  void restart() { sequence_.reset(); }

  const ModelGeometry& geometry() const { return executor_.checkpoint().geometry(); }

  /// Probe heads that are measured: those of IMPRESS, as many as the first KV head serves.
  std::vector<int> probe_heads() const;

 private:
  void begin(std::uint32_t queries, std::uint32_t keys);
  std::vector<std::int32_t> ids_of(std::uint32_t queries) const;
  std::vector<KvPage> pages_of(std::uint32_t keys) const;
  double time_on_lane(std::function<void()> work);

  engine::Executor& executor_;
  ThreadLaneMeter lane_;
  std::vector<std::byte> keys_, values_;  // rings of stored tokens: [tokens][kv_heads][head_dim]
  std::size_t ring_tokens_ = 0;
  std::size_t first_token_ = 0;  // of the present layer, in the rings
  std::unique_ptr<engine::Sequence> sequence_;
  std::uint32_t queries_ = 0, keys_count_ = 0;
  int layer_idx_ = 0;
};

/// Cells without an executor, for a plan: `walk` may be null then.
///   layer        {model, queries, keys}   project_ns, score_ns, score_probe_ns, attend_ns; keys 0: no scores
///   begin        {model, queries}         ns
///   first_token  {model}                  ns
std::vector<std::unique_ptr<Cell>> operation_cells(const OperationGrid& grid, const ModelGeometry& geometry,
                                                   LayerWalk* walk);

}  // namespace reprefill::calibrate
