#include "study/compare/predictors.hpp"

#include "core/model/costs.hpp"

namespace reprefill::study {
namespace {

double count(const FormulaInput& input, const char* counter) { return input.account.at(counter).get<double>(); }

/// Of the whole request, on what attention kept.
double flops_of(const FormulaInput& input) {
  const OperationCosts costs(input.geometry);
  const std::uint64_t own = input.request.own_tokens;
  const double layers = input.geometry.num_layers;
  // K and V are counted apart, once a layer.
  const auto kept = static_cast<std::uint64_t>(count(input, "kv_tokens_kept") / (2 * layers));
  double flops = layers * (costs.project(own).flops + costs.attend_linear(own).flops +
                           costs.attend_attention(own, 0, kept, kept).flops);
  const double identifications = count(input, "num_identifications");
  if (identifications > 0) {
    flops += identifications *
             costs.score(own, input.request.stored_tokens, input.geometry.num_query_heads, input.geometry.num_kv_heads)
                 .flops;
  }
  return flops + costs.first_token().flops;
}

double compute_seconds(const FormulaInput& input) {
  return flops_of(input) / (input.profile.gpu.peak_rate.value * input.profile.gpu.gemm_efficiency);
}

double transfer_seconds(const FormulaInput& input) {
  const double bytes = count(input, "payload_requested_bytes") + count(input, "identification_requested_bytes");
  return bytes / (input.profile.ssd.read_bandwidth.value * input.profile.ssd.num_devices);
}

}  // namespace

Nanoseconds bandwidth_and_flops(const FormulaInput& input) {
  return nanoseconds_from_seconds(transfer_seconds(input) + compute_seconds(input));
}

Nanoseconds per_object_linear(const FormulaInput& input) {
  const sim::HostProfile& host = input.profile.host;
  Nanoseconds per_read = input.profile.ssd.read_latency + input.path.object_fixed_cost;
  if (input.path.charge_submission) per_read += host.submission_cost + host.completion_cost;
  // project and attend in each layer, score and select at each identification, and the first token.
  const double operations = 2.0 * input.geometry.num_layers + 2 * count(input, "num_identifications") + 1;
  return nanoseconds_from_seconds(transfer_seconds(input) + compute_seconds(input) +
                                  count(input, "num_reads") * to_seconds(per_read) +
                                  operations * to_seconds(input.profile.gpu.operation_overhead));
}

std::vector<AblatedModel> ablated_models(const sim::Profile& profile, const pipeline::SoftwarePath& path) {
  std::vector<AblatedModel> models(3, {.name = "", .profile = profile, .path = path});
  models[0].name = "minus_interference";
  models[0].profile.interference.clear();

  models[1].name = "minus_depth";
  models[1].profile.ssd.num_channels = 1;

  models[2].name = "minus_software_path";
  sim::HostProfile& host = models[2].profile.host;
  for (Nanoseconds* cost : {&host.submission_cost, &host.completion_cost, &host.selection_cost, &host.first_token_cost,
                            &host.tokenise_per_token, &host.look_up_per_block, &host.cache_update_per_entry}) {
    *cost = Nanoseconds{0};
  }
  host.driver = {};
  models[2].profile.gpu.operation_overhead = models[2].profile.gpu.select_overhead = Nanoseconds{0};
  models[2].profile.gpu.select_per_candidate_ns = 0;
  pipeline::SoftwarePath& bare = models[2].path;
  for (Nanoseconds* cost : {&bare.object_fixed_cost, &bare.compute_overhead_per_request,
                            &bare.launch_overhead_per_layer, &bare.identify_cost_per_call, &bare.stage_synchronise}) {
    *cost = Nanoseconds{0};
  }
  bare.score_to_host = Bytes{0};
  return models;
}

}  // namespace reprefill::study
