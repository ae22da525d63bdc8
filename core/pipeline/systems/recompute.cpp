// Full prefill of prefix and suffix: no I/O (reference 3.7).
#include "core/pipeline/layer_runner.hpp"
#include "core/pipeline/system_entry.hpp"

namespace reprefill::pipeline {
namespace {

class Recompute final : public System {
 public:
  Recompute(const ComputeParams& params, const SystemEnvironment& environment)
      : params_(params), environment_(environment) {}

  Task serve(Machine& machine, Request& request) override {
    LayerRunner layers(machine, request, environment_, params_.prefill_block_tokens, nullptr);
    layers.begin();
    for (int layer = 0; layer < environment_.geometry.num_layers; ++layer) {
      const Deps projected = layers.project(layer);
      layers.attend(layer, KvView{}, projected);
    }
    const Op token = layers.first_token();
    co_await token;
  }

  bool reuses_prefix() const override { return false; }
  Bytes one_layer_working_set(std::uint32_t) const override { return Bytes{0}; }

 private:
  ComputeParams params_;
  const SystemEnvironment& environment_;
};

}  // namespace

SystemEntry recompute_entry() {
  ParamTable<ComputeParams> table;
  add_compute_params(table);
  return make_system_entry<ComputeParams>(
      "recompute", "full prefill of prefix and suffix, nothing is loaded (reference 3.7)", table,
      [](PathKind) { return ComputeParams{}; }, [](ComputeParams&, const JsonValue&) {},
      [](const ComputeParams& params, const SystemEnvironment& environment) {
        return std::make_unique<Recompute>(params, environment);
      });
}

}  // namespace reprefill::pipeline
