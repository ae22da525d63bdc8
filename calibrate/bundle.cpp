#include "calibrate/bundle.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "calibrate/common_mode.hpp"
#include "calibrate/cuda/cuda_parts.hpp"
#include "calibrate/fit/fit_driver.hpp"
#include "calibrate/fit/fit_line.hpp"
#include "calibrate/fit/fit_operations.hpp"
#include "calibrate/fit/fit_ssd.hpp"
#include "calibrate/meter/statistics.hpp"
#include "calibrate/part_writer.hpp"
#include "core/base/files.hpp"

namespace reprefill::calibrate {
namespace {

Json operations_json(const OperationFit& fit, const ModelSource& source) {
  Json json = {{"model", source.geometry.name}, {"shape", sim::shape_json(source.geometry)}};
  json["method"] = fmt::format(
      "{}; {}",
      source.checkpoint.empty() ? fmt::format("{} layers of random weights", source.num_layers)
                                : "the checkpoint's own weights",
      source.weights_cached ? "widened weights cached, as the whole model's fit the executor's cache"
                            : "weights widened at each use, as the whole model's do not fit the executor's cache");
  json["project"] = fit.tables.project.to_json();
  json["attend"] = fit.tables.attend.to_json();
  json["score"] = fit.tables.score.to_json();
  json["score_probe"] = fit.tables.score_probe->to_json();
  json["probe_query_heads"] = fit.tables.probe_query_heads;
  json["first_token_ns"] = fit.tables.first_token_ns;
  if (fit.tables.begin) json["begin"] = fit.tables.begin->to_json();
  return json;
}

Json gpu_part(const Plan& plan, const Measurements& m, std::vector<FitReport>& fits) {
  std::vector<OperationFit> operations;
  std::vector<ModelGeometry> models;
  for (const ModelSource& source : plan.models) {
    operations.push_back(fit_operations(source.geometry, m.cells, m.num_probe_heads(source.geometry)));
    models.push_back(source.geometry);
    fits.insert(fits.end(), operations.back().reports.begin(), operations.back().reports.end());
  }
  const RooflineFit roofline = fit_roofline(models, operations, m.cells);
  PartWriter part(
      fmt::format("CPU executor, {} threads, {}", m.num_threads, describe_machine().at("cpu").get<std::string>()));
  part.set("peak_flops_per_s", roofline.peak_flops_per_s, "measured: the best rate of any operation");
  part.set("memory_bandwidth_bytes_per_s", roofline.memory_bandwidth_bytes_per_s,
           "measured: weights of the head read for one token, or the best copy where that is quicker");
  part.set("memory_bytes",
           static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)),
           "the kernel's count of memory now; nothing is sized by it, since a virtual machine's may grow");
  part.set("gemm_efficiency", roofline.gemm_efficiency, "measured: projections against the best rate");
  part.set("attention_efficiency", roofline.attention_efficiency, "measured: scoring against the best rate");
  part.set("memory_efficiency", 1.0, "the bandwidth above is a measured one");
  part.set("operation_overhead_ns", 0, "the way to the compute lane's thread and back is in host.driver");
  const double few = must(median_of(m.cells, "select", 0, "candidates", 64), "select");
  const double many = must(median_of(m.cells, "select", 0, "candidates", 4096), "select");
  const double per_candidate = std::max(0.0, (many - few) / (4096 - 64));
  part.set("select_overhead_ns", whole(std::max(0.0, few - 64 * per_candidate)),
           "measured: 5 % of 64 candidates, less what each takes");
  part.set("residual_sigma", roofline.residual_sigma, "measured: samples of attend around their medians");
  part.set("select_per_score_ns", per_candidate, "measured: from 64 to 4,096 candidates");
  Json json = part.take();
  for (std::size_t i = 0; i < operations.size(); ++i) {
    json["operations"].push_back(operations_json(operations[i], plan.models[i]));
  }
  return json;
}

Json ssd_part(const Plan& plan, const Measurements& m, std::vector<FitReport>& fits) {
  const SsdFit fit = fit_ssd(m.cells);
  fits.insert(fits.end(), fit.reports.begin(), fit.reports.end());
  const std::string by = plan.options.fio ? fmt::format("fio: {}", plan.options.fio->filename().string()) : "measured";
  const std::string name = plan.site ? fmt::format("{} {} ({}), span {} MiB", plan.site->device.name,
                                                   plan.site->device.model.empty() ? "without a model name (virtual)"
                                                                                   : plan.site->device.model,
                                                   plan.site->file_system, plan.site->span.value >> 20)
                                     : "drive that fio measured";
  PartWriter part(name);
  part.set("read_bandwidth_bytes_per_s", fit.ssd.read_bandwidth.value, by + ": the largest random reads, deep");
  part.set(
      "write_bandwidth_bytes_per_s", fit.has_writes ? fit.ssd.write_bandwidth.value : fit.ssd.read_bandwidth.value,
      fit.has_writes ? "measured: 1 MiB O_DIRECT writes, 4 threads" : "assumption: as reads; no write was measured");
  part.set("read_latency_ns", fit.ssd.read_latency.value, by + ": the smallest read at depth 1, less its transfer");
  part.set("write_latency_ns", fit.has_writes ? fit.ssd.write_latency.value : fit.ssd.read_latency.value,
           fit.has_writes ? "measured: 4 KiB O_DIRECT writes" : "assumption: as reads; no write was measured");
  part.set("num_channels", fit.ssd.num_channels, by + ": fits reads of all sizes and depths best");
  part.set("num_devices", 1, "seen as one block device");
  part.set("stripe_bytes", 131072, "unused with one device");
  part.set("mixed_slowdown", fit.ssd.mixed_slowdown,
           fit.has_writes ? "measured: 128 KiB reads beside 1 MiB writes" : "assumption: none; no write was measured");
  part.set("residual_sigma", fit.ssd.residual_sigma, by + ": latencies of single reads at depth 1");
  if (fit.first_group_share) {
    part.set("service", enum_name(fit.ssd.service),
             fmt::format("measured: of two groups of reads queued together the first is done at {:.2f} of the time of "
                         "both: 0.5 would be one after the other, 1 all alike",
                         *fit.first_group_share));
  }
  Json json = part.take();
  for (const sim::ReadCost& cost : fit.ssd.read_curve) {
    json["read_curve"].push_back({{"bytes", cost.size.value},
                                  {"latency_ns", cost.latency.value},
                                  {"bandwidth_bytes_per_s", cost.bandwidth.value}});
  }
  return json;
}

Json link_part(const Measurements& m, const LineFit& copies) {
  const double rate = 1e9 / copies.line.ns_per_byte;
  PartWriter part("copies between host buffers: the CPU executor's GPU tier is in host memory");
  const std::string latency = "measured: a memcpy's start; the way to the lane's thread and back is in host.driver";
  const std::string bandwidth = "measured: one thread's memcpy between buffers that no cache holds";
  part.set("copy_latency_ns", whole(copies.line.latency_ns), latency);
  part.set("copy_bandwidth_bytes_per_s", rate, bandwidth);
  part.set("gather_latency_ns", whole(copies.line.latency_ns), latency);
  part.set("gather_bandwidth_bytes_per_s", rate, bandwidth);
  part.set("pageable_bandwidth_bytes_per_s", rate, bandwidth);
  part.set("residual_sigma", residual_sigma(m.cells, "copy", 0), "measured: samples around their medians");
  return part.take();
}

double tokenise_per_token(const Measurements& m, std::string& source) {
  for (const Measured& cell : m.cells) {
    if (cell.spec.quantity != "tokenise" || cell.spec.shape.at("bytes") != 16384) continue;
    source = "measured: 16 KiB of English words";
    return median(cell.of(0)) / median(cell.of(1));
  }
  source = "assumption: byte-level BPE at 40 MB/s, four bytes a token; no model with a tokenizer.json was measured";
  return 100;
}

/// From sessions; without any, the way to an idle lane and back.
Json driver_json(const Measurements& m, std::vector<FitReport>& fits) {
  sim::DriverCosts costs{.start = Nanoseconds{whole(must(median_of(m.cells, "hand_over", 0), "hand_over"))},
                         .notice = Nanoseconds{whole(must(median_of(m.cells, "hand_over", 1), "hand_over"))}};
  if (std::optional<DriverFit> fit = fit_driver(m.cells)) {
    costs = fit->costs;
    fits.push_back(std::move(fit->report));
  }
  return {{"per_operation_ns", costs.per_operation.value},
          {"per_piece_ns", costs.per_piece.value},
          {"start_ns", costs.start.value},
          {"notice_ns", costs.notice.value}};
}

Json host_part(const Measurements& m, const LineFit& copies, bool has_io_calls, std::vector<FitReport>& fits) {
  const IoCalls calls = io_calls(m.cells);
  const std::string io = has_io_calls ? "measured: 32 reads of 64 KiB in one submission"
                                      : "assumption: 1 us and 0.5 us; no storage was measured";
  std::string tokenise_source;
  const double per_token = tokenise_per_token(m, tokenise_source);
  PartWriter part(describe_machine().at("cpu").get<std::string>());
  part.set("memcpy_bandwidth_bytes_per_s", 1e9 / copies.line.ns_per_byte,
           "measured: one thread's memcpy between buffers that no cache holds");
  part.set("submission_cost_ns", has_io_calls ? whole(calls.submit_ns) : 1000, io);
  part.set("completion_cost_ns", has_io_calls ? whole(calls.harvest_ns) : 500, io);
  part.set("selection_cost_ns", 0, "the way to the driver is in driver.notice_ns");
  part.set("first_token_cost_ns", 0, "the way to the driver is in driver.notice_ns");
  part.set("tokenise_per_token_ns", whole(per_token), tokenise_source);
  part.set("look_up_per_block_ns", whole(must(median_of(m.cells, "look_up", 0, "blocks", 128), "look_up") / 128),
           "measured: a stored prefix of 128 blocks");
  const bool in_sessions = fit_driver(m.cells).has_value();
  part.set("cache_update_per_entry_ns",
           in_sessions ? 0 : whole(must(median_of(m.cells, "cache_update"), "cache_update") / 512),
           in_sessions ? "the engine updates caches as it issues: in driver.per_piece_ns"
                       : "measured: note, look up, admit and unpin in a full cache");
  Json json = part.take();
  json["driver"] = driver_json(m, fits);
  return json;
}

/// The executor's copies are all memcpy: what was measured of `copy` goes for both directions and the gather.
Json interference_json(const std::vector<Measured>& cells, std::vector<FitReport>& fits) {
  const auto names_of = [](const std::string& activity) {
    return activity == "copy" ? std::vector<std::string>{"h2d", "d2h", "gather"} : std::vector<std::string>{activity};
  };
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
    for (const std::string& slowed : names_of(cell.spec.shape.at("slowed"))) {
      for (const std::string& by : names_of(cell.spec.shape.at("by"))) {
        // Both directions to the GPU share one link, whose lanes the simulator shares already.
        const bool same_lanes = (slowed == "h2d" && by == "gather") || (slowed == "gather" && by == "h2d");
        if (slowed != by) pairs.push_back({{"slowed", slowed}, {"by", by}, {"factor", same_lanes ? 1.0 : factor}});
      }
    }
  }
  // One lane computes: these never meet.
  for (const auto& [slowed, by] : {std::pair{"gemm", "attention"}, std::pair{"attention", "gemm"}}) {
    pairs.push_back({{"slowed", slowed}, {"by", by}, {"factor", 1.0}});
  }
  fits.push_back(std::move(report));
  return pairs;
}

Json meta_json(const Plan& plan, const Measurements& m, const std::string& name, const std::string& date,
               const std::string& version) {
  Json meta = {{"schema_version", 1}, {"name", name}, {"kind", "measured"}, {"date", date}, {"tool_version", version}};
  const Json machine = describe_machine();
  meta["hardware"] = fmt::format("{}, {} cores{}", machine.at("cpu").get<std::string>(), machine.at("cores").dump(),
                                 machine.at("virtual_machine").get<bool>() ? ", a virtual machine" : "");
  if (!m.gpu_name.empty()) meta["hardware"] = m.gpu_name + ", " + meta["hardware"].get<std::string>();
  meta["method"] = fmt::format("reprefill calibrate --{} --device {}",
                               plan.options.effort == Effort::full ? "full" : "quick", plan.options.device);
  meta["plan"] = plan.to_json();
  if (plan.site) {
    meta["storage"] = {{"file_system", plan.site->file_system}, {"device", plan.site->device.to_json()},
                       {"span_bytes", plan.site->span.value},   {"fill_rates_bytes_per_s", m.fill_rates_bytes_per_s},
                       {"page_cache_share", m.cached_share},    {"warnings", plan.site->warnings}};
  }
  meta["conditions"] = {{"before", m.before.to_json()}, {"after", m.after.to_json()}};
  if (!m.gpu_conditions.empty()) meta["gpu_conditions"] = m.gpu_conditions;
  meta["disturbances"] = m.disturbances;
  meta["wall_s"] = std::round(m.wall_s * 10) / 10;
  Json cells = Json::array();
  for (const Measured& cell : m.cells) cells.push_back({{"cell", cell.spec.id}, {"summary", summary_json(cell)}});
  meta["cells"] = cells;
  return meta;
}

}  // namespace

Bundle make_bundle(const Plan& plan, const Measurements& m, const std::string& name, const std::string& date,
                   const std::string& version) {
  Bundle bundle{.meta = meta_json(plan, m, name, date, version),
                .model = {{"schema_version", sim::kBundleSchemaVersion}},
                .fits = {}};
  const LineFit copies = fit_transfers(m.cells, "copy");
  const bool on_gpu = plan.options.device == "cuda";
  if (!plan.models.empty()) {
    bundle.model["gpu"] = on_gpu ? cuda_gpu_part(plan, m, bundle.fits) : gpu_part(plan, m, bundle.fits);
  }
  if (plan.site || plan.options.fio) bundle.model["ssd"] = ssd_part(plan, m, bundle.fits);
  bundle.model["link"] = on_gpu ? cuda_link_part(m, bundle.fits) : link_part(m, copies);
  bundle.model["host"] = host_part(m, copies, plan.site.has_value(), bundle.fits);
  if (on_gpu) amend_host_part(bundle.model["host"], m);
  bundle.fits.push_back(copies.report);
  bundle.model["interference"] =
      on_gpu ? cuda_interference(m.cells, bundle.fits) : interference_json(m.cells, bundle.fits);
  if (std::optional<CommonModeFit> common = fit_common_mode(plan, m, bundle.model)) {
    bundle.model["common_mode"] = sim::to_json(common->common);
    bundle.fits.push_back(std::move(common->report));
  }
  bundle.model["fits"] = Json::array();
  for (const FitReport& fit : bundle.fits) bundle.model["fits"].push_back(fit.to_json());
  return bundle;
}

void write_bundle(const std::filesystem::path& folder, const Bundle& bundle) {
  const std::string model = bundle.model.dump(1) + "\n";
  write_file_atomically(folder / "model.json", model);
  Json meta = bundle.meta;
  meta["model_digest"] = sim::bundle_digest(model);
  write_file_atomically(folder / "meta.json", meta.dump(1) + "\n");
}

std::vector<FitReport> fits_of(const Json& model, const std::string& origin) {
  std::vector<FitReport> fits;
  if (!model.contains("fits")) return fits;
  const JsonValue all(model, origin);
  const JsonValue list = all.key("fits").require_array();
  for (std::size_t i = 0; i < list.json().size(); ++i) fits.push_back(FitReport::from_json(list.element(i)));
  return fits;
}

}  // namespace reprefill::calibrate
