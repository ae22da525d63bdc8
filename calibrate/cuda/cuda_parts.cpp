#include "calibrate/cuda/cuda_parts.hpp"

#include <algorithm>

#include "calibrate/fit/fit_line.hpp"
#include "calibrate/fit/fit_operations.hpp"
#include "calibrate/part_writer.hpp"

namespace reprefill::calibrate {
namespace {

Json operations_json(const OperationFit& fit, const ModelSource& source) {
  Json json = {{"model", source.geometry.name}, {"shape", sim::shape_json(source.geometry)}};
  json["method"] = source.checkpoint.empty() ? fmt::format("{} layers of random weights", source.num_layers)
                                             : "the checkpoint's own weights";
  json["project"] = fit.tables.project.to_json();
  json["attend"] = fit.tables.attend.to_json();
  json["score"] = fit.tables.score.to_json();
  json["score_probe"] = fit.tables.score_probe->to_json();
  json["probe_query_heads"] = fit.tables.probe_query_heads;
  json["first_token_ns"] = fit.tables.first_token_ns;
  return json;
}

/// Beside the fixed part, which is that of 512 scores.
double select_per_score(const std::vector<Measured>& cells) {
  const auto cell = std::ranges::find(cells, "select_scores", [](const Measured& c) { return c.spec.quantity; });
  REPREFILL_CHECK(cell != cells.end(), "select_scores was not measured");
  const double few = must(median_of(cells, "select", 0, "candidates", 512), "select");
  return std::max(0.0, median(cell->of()) - few) / cell->spec.shape.at("scores").get<double>();
}

}  // namespace

Json cuda_gpu_part(const Plan& plan, const Measurements& m, std::vector<FitReport>& fits) {
  std::vector<OperationFit> operations;
  std::vector<ModelGeometry> models;
  for (const ModelSource& source : plan.models) {
    operations.push_back(fit_operations(source.geometry, m.cells, m.num_probe_heads(source.geometry)));
    models.push_back(source.geometry);
    fits.insert(fits.end(), operations.back().reports.begin(), operations.back().reports.end());
  }
  const RooflineFit roofline = fit_roofline(models, operations, m.cells);
  PartWriter part(m.gpu_name);
  part.set("peak_flops_per_s", roofline.peak_flops_per_s, "measured: the best rate of any operation");
  part.set("memory_bandwidth_bytes_per_s", roofline.memory_bandwidth_bytes_per_s,
           "measured: weights of the head read for one token");
  part.set("memory_bytes", m.gpu_memory.value, "the driver's count");
  part.set("gemm_efficiency", roofline.gemm_efficiency, "measured: projections against the best rate");
  part.set("attention_efficiency", roofline.attention_efficiency, "measured: scoring against the best rate");
  part.set("memory_efficiency", 1.0, "the bandwidth above is a measured one");
  part.set("operation_overhead_ns", whole(must(median_of(m.cells, "operation_gap"), "operation_gap")),
           "measured: between the events of one operation and the next, the host running ahead");
  part.set("select_overhead_ns", whole(must(median_of(m.cells, "select", 0, "candidates", 512), "select")),
           "measured: 5 % of 512 candidates, on the host");
  part.set("residual_sigma", roofline.residual_sigma, "measured: samples of attend around their medians");
  part.set("select_per_score_ns", select_per_score(m.cells), "measured: many scores on the host, less those of 512");
  Json json = part.take();
  for (std::size_t i = 0; i < operations.size(); ++i) {
    json["operations"].push_back(operations_json(operations[i], plan.models[i]));
  }
  return json;
}

Json cuda_link_part(const Measurements& m, std::vector<FitReport>& fits) {
  const LineFit gather = fit_transfers(m.cells, "gather"), prefetch = fit_transfers(m.cells, "prefetch");
  const LineFit pageable = fit_transfers(m.cells, "copy_h2d_pageable");
  PartWriter part(fmt::format("host to {}", m.gpu_name));
  const auto rate = [](const LineFit& fit) { return 1e9 / fit.line.ns_per_byte; };
  const std::string pieces = "measured: 16 KiB pieces, from the driver's wish to the end on the device";
  part.set("copy_latency_ns", whole(prefetch.line.latency_ns), pieces + ", as prefetch copies them");
  part.set("copy_bandwidth_bytes_per_s", rate(prefetch), pieces + ", as prefetch copies them");
  part.set("gather_latency_ns", whole(gather.line.latency_ns), pieces + ", in one launch");
  part.set("gather_bandwidth_bytes_per_s", rate(gather), pieces + ", in one launch");
  part.set("pageable_bandwidth_bytes_per_s", rate(pageable), "measured: one range of memory that is not pinned");
  part.set("residual_sigma", residual_sigma(m.cells, "gather", 0), "measured: gathers around their medians");
  for (const LineFit* fit : {&gather, &prefetch, &pageable}) fits.push_back(fit->report);
  for (const char* other : {"copy_h2d_pinned", "copy_d2h_pinned", "copy_d2h_pageable"}) {
    fits.push_back(fit_transfers(m.cells, other).report);
  }
  return part.take();
}

void amend_host_part(Json& host, const Measurements& m) {
  // Operations follow one another in streams: what the driver hears of, it hears through an eventfd, as of any lane.
  // Its way to a decision and back is below.
  host["driver"]["streams"] = true;
  host["driver"]["start_ns"] = 0;
  host["driver"]["notice_ns"] = whole(must(median_of(m.cells, "hand_over", 1), "hand_over"));
  const auto set = [&](const char* key, const char* quantity, const char* source) {
    host[key] = whole(must(median_of(m.cells, quantity), quantity));
    host["sources"][key] = source;
  };
  set("selection_cost_ns", "turnaround",
      "measured: from a score's end over the driver and a thread to the next attend's end, less an attend behind "
      "others");
  set("first_token_cost_ns", "request_overhead",
      "measured: beside a request's operations: three host tasks, the first projection without a lead, the completion");
}

Json cuda_interference(const std::vector<Measured>& cells, std::vector<FitReport>& fits) {
  Json pairs = Json::array();
  FitReport report{.name = "interference", .unit = "factor", .rule = "median, at least 1", .points = {}};
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != "interference") continue;
    const double factor = std::clamp(median(cell.of()), 1.0, 100.0);
    report.points.push_back({.shape = cell.spec.shape,
                             .measured = median(cell.of()),
                             .spread = relative_spread(cell.of()),
                             .converged = cell.converged,
                             .fitted = factor});
    pairs.push_back({{"slowed", cell.spec.shape.at("slowed")}, {"by", cell.spec.shape.at("by")}, {"factor", factor}});
  }
  // One stream computes; one link is divided by the simulator's lanes.
  for (const auto& [slowed, by] : {std::pair{"gemm", "attention"}, std::pair{"attention", "gemm"},
                                   std::pair{"h2d", "gather"}, std::pair{"gather", "h2d"}}) {
    pairs.push_back({{"slowed", slowed}, {"by", by}, {"factor", 1.0}});
  }
  fits.push_back(std::move(report));
  return pairs;
}

}  // namespace reprefill::calibrate
