#include "calibrate/cuda/cuda_parts.hpp"

#include <algorithm>

#include "calibrate/cuda/gpu_copy_cells.hpp"
#include "calibrate/fit/fit_line.hpp"
#include "calibrate/fit/fit_masks.hpp"
#include "calibrate/fit/fit_operations.hpp"
#include "calibrate/fit/fit_selection.hpp"
#include "calibrate/part_writer.hpp"

namespace reprefill::calibrate {
namespace {

Json operations_json(const OperationFit& fit, const MaskFit& masks, const ModelSource& source) {
  Json json = {{"model", source.geometry.name}, {"shape", sim::shape_json(source.geometry)}};
  json["method"] = source.checkpoint.empty() ? fmt::format("{} layers of random weights", source.num_layers)
                                             : "the checkpoint's own weights";
  json["project"] = fit.tables.project.to_json();
  json["attend"] = fit.tables.attend.to_json();
  json["score"] = fit.tables.score.to_json();
  json["score_probe"] = fit.tables.score_probe->to_json();
  json["probe_query_heads"] = fit.tables.probe_query_heads;
  json["first_token_ns"] = fit.tables.first_token_ns;
  if (masks.keys) json["attend_mask_keys"] = masks.keys->to_json();
  if (masks.values) json["attend_mask_values"] = masks.values->to_json();
  return json;
}

}  // namespace

Json cuda_gpu_part(const Plan& plan, const Measurements& m, std::vector<FitReport>& fits) {
  std::vector<OperationFit> operations;
  std::vector<MaskFit> masks;
  std::vector<ModelGeometry> models;
  for (const ModelSource& source : plan.models) {
    operations.push_back(fit_operations(source.geometry, m.cells, m.num_probe_heads(source.geometry)));
    masks.push_back(fit_masks(source.geometry, m.cells));
    models.push_back(source.geometry);
    fits.insert(fits.end(), operations.back().reports.begin(), operations.back().reports.end());
    fits.insert(fits.end(), masks.back().reports.begin(), masks.back().reports.end());
    const auto pages = judge_pages(source.geometry, m.cells, operations.back().tables.attend);
    if (pages) fits.push_back(*pages);
  }
  const RooflineFit roofline = fit_roofline(models, operations, m.cells);
  const SelectionFit selection = fit_selection(m.cells);
  fits.push_back(selection.report);
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
  const std::string fresh =
      "measured: on a thread that slept, from scores that a kernel wrote and another thread fetched";
  part.set("select_overhead_ns", whole(selection.overhead_ns), fresh + "; what none of them would take");
  part.set("residual_sigma", roofline.residual_sigma, "measured: samples of attend around their medians");
  part.set("select_per_score_ns", selection.per_score_ns, fresh + ", by chunks and by KV heads");
  part.set("select_per_vote_ns", selection.per_vote_ns, fresh + ", by the votes of probe heads");
  Json json = part.take();
  for (std::size_t i = 0; i < operations.size(); ++i) {
    json["operations"].push_back(operations_json(operations[i], masks[i], plan.models[i]));
  }
  return json;
}

Json cuda_link_part(const Measurements& m, std::vector<FitReport>& fits) {
  const LineFit gather = fit_transfers(m.cells, "gather"), prefetch = fit_transfers(m.cells, "prefetch");
  const LineFit single = fit_transfers(m.cells, "prefetch_single");
  const LineFit pageable = fit_transfers(m.cells, "copy_h2d_pageable");
  PartWriter part(fmt::format("host to {}", m.gpu_name));
  const auto rate = [](const LineFit& fit) { return 1e9 / fit.line.ns_per_byte; };
  const std::string pieces = "measured: 16 KiB pieces, from the driver's wish to the end on the device";
  part.set("copy_latency_ns", whole(prefetch.line.latency_ns), pieces + ", as prefetch copies many of them");
  part.set("copy_bandwidth_bytes_per_s", rate(prefetch), pieces + ", as prefetch copies many of them");
  part.set("gather_latency_ns", whole(gather.line.latency_ns), pieces + ", in one launch");
  part.set("gather_bandwidth_bytes_per_s", rate(gather), pieces + ", in one launch");
  part.set("pageable_bandwidth_bytes_per_s", rate(pageable), "measured: one range of memory that is not pinned");
  part.set("residual_sigma", residual_sigma(m.cells, "gather", 0), "measured: gathers around their medians");
  for (const LineFit* fit : {&gather, &prefetch, &single, &pageable}) fits.push_back(fit->report);
  for (const char* other : {"copy_h2d_pinned", "copy_d2h_pinned", "copy_d2h_pageable"}) {
    fits.push_back(fit_transfers(m.cells, other).report);
  }
  // The bandwidth is charged for every byte already.
  const double per_piece =
      (single.line.ns_per_byte - prefetch.line.ns_per_byte) * static_cast<double>(kCopiedPiece.value);
  Json json = part.take();
  json["single_copies"] = {{"most_pieces", engine::kMostSingleCopies},
                           {"latency_ns", whole(single.line.latency_ns)},
                           {"per_piece_ns", whole(std::max(0.0, per_piece))}};
  json["sources"]["single_copies"] = pieces + ", as prefetch copies few of them";
  return json;
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
