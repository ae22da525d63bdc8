// Everything already in GPU memory: what is left of the TTFT when I/O is free.
#include "core/pipeline/layer_runner.hpp"
#include "core/pipeline/prefix_units.hpp"
#include "core/pipeline/system_entry.hpp"

namespace reprefill::pipeline {
namespace {

struct ResidentParams : ComputeParams {
  Budget budget;  // 1
  std::uint32_t chunk_tokens = 16;
  int period_layers = 8;
};

/// Below budget 1 it identifies like contiguous_kv, once a period, on keys that are resident too.
class Resident final : public System {
 public:
  Resident(const ResidentParams& params, const SystemEnvironment& environment)
      : params_(params), environment_(environment) {}

  Task serve(Machine& machine, Request& request) override {
    LayerRunner layers(machine, request, environment_, params_.prefill_block_tokens, nullptr);
    layers.begin();
    const PrefixUnits chunks(request.stored_prefix, params_.chunk_tokens);
    const bool prunes = !params_.budget.is_everything() && chunks.size() > 0;
    KvView view = everything(request);
    for (int layer = 0; layer < environment_.geometry.num_layers; ++layer) {
      const Deps projected = layers.project(layer);
      if (prunes && layer % params_.period_layers == 0) {
        const ScoreOp scores =
            machine.score(layers.context(layer), request, {.unit_tokens = params_.chunk_tokens}, projected);
        const SelectOp chosen =
            machine.select(layers.context(layer), scores, {.k = params_.budget.ceil_of(chunks.size())});
        co_await Op(chosen);
        ++request.account.num_identifications;
        const auto kept = static_cast<std::uint32_t>(chosen->selection->shared().size()) * params_.chunk_tokens;
        view.kept_k_tokens = view.kept_v_tokens = kept;
        view.kept = chosen->selection;
        view.unit_tokens = params_.chunk_tokens;
      }
      request.account.kv_tokens_kept += 2 * view.kept_k_tokens;
      request.account.kv_tokens_in_pieces += 2 * view.kept_k_tokens;
      request.account.kv_tokens_stored += 2 * request.stored_tokens;
      layers.attend(layer, view, projected);
    }
    const Op token = layers.first_token();
    co_await token;
  }

  Bytes one_layer_working_set(std::uint32_t) const override { return Bytes{0}; }

 private:
  ResidentParams params_;
  const SystemEnvironment& environment_;
};

}  // namespace

SystemEntry resident_entry() {
  using P = ResidentParams;
  ParamTable<P> table;
  table.add(&P::budget, budget_info())
      .add(&P::chunk_tokens, {.name = "chunk_tokens",
                              .doc = "unit of selection below budget 1",
                              .source = "reference 3.1: 16",
                              .unit = "tokens",
                              .minimum = 1,
                              .maximum = 4096})
      .add(&P::period_layers, {.name = "period_layers",
                               .doc = "layers that share one selection below budget 1",
                               .source = "reference 3.1: 8",
                               .unit = "layers",
                               .minimum = 1,
                               .maximum = 511});
  add_compute_params(table);
  return make_system_entry<P>(
      "resident", "all KV already in GPU memory, at a budget: what is left when I/O is free (semantics 3)", table,
      [](PathKind) { return P{}; }, [](P&, const JsonValue&) {},
      [](const P& params, const SystemEnvironment& environment) {
        return std::make_unique<Resident>(params, environment);
      });
}

}  // namespace reprefill::pipeline
