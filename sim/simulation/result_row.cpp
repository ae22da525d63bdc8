#include "sim/simulation/result_row.hpp"

// Header-only: the static library would be one more thing to link for one call.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "core/pipeline/account_metrics.hpp"
#include "core/pipeline/reordering.hpp"
#include "core/record/ttft_statistics.hpp"

namespace reprefill::sim {
namespace {

using pipeline::ratio;

/// Design 4: only distributions of such rows are comparable between machines.
bool depends_on_timing(const RowInputs& in) {
  const auto& systems = pipeline::system_registry();
  const auto entry = std::find_if(systems.begin(), systems.end(),
                                  [&](const pipeline::SystemEntry& system) { return system.name == in.point.system; });
  const bool always = entry != systems.end() && entry->timing_dependent;
  return always || in.system.timing_dependent() || in.point.workload.max_in_flight() > 1;
}

Json identity(const RowInputs& in) {
  const Point& point = in.point;
  Json row = Json::object();
  row["point"] = point.index;
  row["label"] = point.label;
  row["system"] = point.system;
  row["axes"] = point.axes;
  row["replica"] = point.replica;
  row["seed"] = point.seed;
  row["model"] = point.geometry.name;
  row["profile"] = point.profile.name;
  row["profile_kind"] = point.profile.hypothetical ? "hypothetical" : "measured";
  row["software_path"] = enum_name(point.path.kind);
  row["missing_interference_pairs"] = point.profile.num_missing_interference_pairs();
  row["importance"] = point.importance.kind == "recorded" ? point.importance.file : point.importance.preset;
  if (point.importance.kind == "recorded") row["importance_mismatch"] = in.importance_mismatch;
  row["noise"] = point.noise;
  row["timing_dependent"] = depends_on_timing(in);
  if (in.system.scores_on_host()) row["scoring"] = "host (no kernel)";
  return row;
}

/// A measured bundle has tables for some models; the others, and shapes outside the tables, are extrapolated.
Json operation_shapes(const RowInputs& in) {
  const bool any_tables = !in.point.profile.gpu.operations->empty();
  return {{"model", in.operations.is_measured() ? "table"
                    : any_tables                ? "roofline (model not measured)"
                                                : "roofline"},
          {"operations", in.operations.num_queries()},
          {"extrapolated", in.operations.is_measured() ? in.operations.num_extrapolated()
                           : any_tables                ? in.operations.num_queries()
                                                       : 0}};
}

Json workload(const RowInputs& in, double num_requests) {
  const RequestStatistics& s = in.statistics;
  Json json = Json::object();
  json["measured_requests"] = s.requests.size();
  json["warmup_requests"] = in.num_warmup;
  json["requests_in_flight"] = in.point.workload.max_in_flight();
  json["num_prefixes"] = in.plan.num_prefixes();
  json["working_set_bytes"] = in.plan.working_set().value;
  json["mean_prompt_tokens"] = ratio(static_cast<double>(s.prompt_tokens), num_requests);
  json["mean_hit_tokens_trace_blocks"] = ratio(static_cast<double>(s.hit_trace_tokens), num_requests);
  json["mean_hit_tokens_chunks"] = ratio(static_cast<double>(s.stored_tokens), num_requests);
  json["dropped_requests"] = in.plan.num_dropped();
  json["truncated_requests"] = in.plan.num_truncated();
  if (in.point.workload.is_trace) {
    json["decode_steps"] = in.num_decode_steps;
    json["segments_removed"] = in.plan.num_segments_removed();
    json["segments_not_stored"] = in.plan.num_segments_not_stored();
  }
  if (in.plan.time_factor()) json["arrival_time_factor"] = *in.plan.time_factor();
  const layout::StoreLayout* layout = in.system.store_layout();
  if (layout != nullptr && !in.point.workload.is_trace) {
    json["store_bytes"] = in.plan.num_prefixes() * layout->file_bytes(in.plan.segment_tokens(SegmentId{0})).value;
  }
  return json;
}

Json time_per_request(const RowInputs& in, double num_requests) {
  Json json = Json::object();
  for (int i = 0; i < record::kNumTimeClasses; ++i) {
    const auto time_class = static_cast<record::TimeClass>(i);
    json[record::name_of(time_class)] = to_milliseconds(in.statistics.time[time_class]) / num_requests;
  }
  return json;
}

/// [[lower end of a power of two, how much of it], ...] without empty ones: of reads their number, of queue depths the
/// share of the time in which the drive had anything to do.
Json io(const RowInputs& in) {
  Json sizes = Json::array(), depths = Json::array();
  double busy = 0;
  for (std::size_t i = 0; i < IoHistogram::kNumBuckets; ++i) busy += static_cast<double>(in.io.time_at_depth(i).value);
  for (std::size_t i = 0; i < IoHistogram::kNumBuckets; ++i) {
    const std::uint64_t lower = std::uint64_t{1} << i;
    if (in.io.num_reads(i) > 0) sizes.push_back({lower, in.io.num_reads(i)});
    const auto time = static_cast<double>(in.io.time_at_depth(i).value);
    if (time > 0) depths.push_back({lower, time / busy});
  }
  return {{"read_sizes_bytes", sizes}, {"queue_depths", depths}};
}

/// What a stored prefix takes on the SSD, and what of it is there for identification; entries that the cache keeps in
/// memory to decide with.
Json space(const RowInputs& in) {
  Json json = Json::object();
  const layout::StoreLayout* layout = in.system.store_layout();
  if (layout != nullptr && !in.point.workload.is_trace) {
    const std::uint32_t tokens = in.plan.segment_tokens(SegmentId{0});
    const Bytes file = layout->file_bytes(tokens), kv = tokens * in.point.geometry.kv_bytes_per_token();
    const Bytes auxiliary = file - Bytes{layout->payload_end(tokens)};
    json["file_bytes_per_prefix"] = file.value;
    json["kv_bytes_per_prefix"] = kv.value;
    json["auxiliary_bytes_per_prefix"] = auxiliary.value;
    json["padding_bytes_per_prefix"] = (file - kv - auxiliary).value;
    json["overhead"] = ratio(file - kv, kv);
  }
  if (in.system.cache() != nullptr) json["cache_entries"] = in.system.cache()->num_known_pieces();
  return json;
}

/// What rewriting segments cost: during the whole run, warm-up included, or before it, of every prefix of the pool.
Json reordering(const RowInputs& in, const pipeline::Reordering& reordering) {
  pipeline::ReorderStatistics s = reordering.statistics();
  Bytes metadata = reordering.metadata();
  Json json = {{"io", enum_name(reordering.params().io)}};
  if (reordering.params().io == pipeline::ReorderIo::offline && !in.point.workload.is_trace) {
    const std::uint64_t prefixes = in.plan.num_prefixes();
    const auto layers = static_cast<std::uint64_t>(in.point.geometry.num_layers);
    const std::uint32_t tokens = in.plan.segment_tokens(SegmentId{0});
    s.layers_rewritten = prefixes * layers;
    s.read = prefixes * in.system.store_layout()->payload_bytes(tokens);
    metadata = Bytes{prefixes * layers * in.system.store_layout()->permutation_bytes(tokens)};
    s.written = s.read + metadata;
    const SsdProfile& ssd = in.point.profile.ssd;
    const Nanoseconds one_device =
        transfer_time(s.read, ssd.read_bandwidth) + transfer_time(s.written, ssd.write_bandwidth);
    json["before_run_s"] = to_seconds(one_device) / ssd.num_devices;
  }
  json["layers_rewritten"] = s.layers_rewritten;
  json["read_bytes"] = s.read.value;
  json["written_bytes"] = s.written.value;
  json["discarded_pieces"] = s.discarded_pieces;
  json["metadata_bytes"] = metadata.value;
  return json;
}

/// The share of measured requests that had their first token in time.
Json slo_attainment(const std::vector<double>& slos_ms, const std::vector<double>& ttft_ms) {
  Json json = Json::object();
  for (const double slo : slos_ms) {
    const auto in_time = std::count_if(ttft_ms.begin(), ttft_ms.end(), [&](double ttft) { return ttft <= slo; });
    json[fmt::format("{}_ms", slo)] = ratio(static_cast<double>(in_time), static_cast<double>(ttft_ms.size()));
  }
  return json;
}

Json cache_state(const RowInputs& in) {
  cache::TieredCache* cache = in.system.cache();
  if (cache == nullptr) return nullptr;
  const cache::CacheStatistics& s = cache->statistics();
  Json json = Json::object();
  for (const cache::Tier tier : {cache::Tier::gpu, cache::Tier::host}) {
    const std::string name = cache::name_of(tier);
    json[name + "_capacity_bytes"] = cache->capacity(tier).value;
    json[name + "_fill"] = cache->fill(tier);
    json[name + "_working_set_ratio"] = ratio(cache->capacity(tier), in.plan.working_set());
    json[name + "_entered"] = s[tier].entered;
    json[name + "_dropped"] = s[tier].dropped;
  }
  json["promotions"] = s.promotions;
  json["demotions"] = s.demotions;
  json["bypassed_pieces"] = s.bypasses;
  json["bypassed_pinned"] = s.bypasses_pinned;
  json["score_states_dropped"] = s.states_dropped;
  json["decisions_digest"] = fmt::format("{:016x}", in.decisions.digest());
  return json;
}

Json busy_shares(const RowInputs& in) {
  Json json = Json::object();
  for (std::size_t i = 0; i < in.busy.size(); ++i) {
    json[record::name_of(static_cast<record::Resource>(i))] =
        ratio(static_cast<double>(in.busy[i].value), static_cast<double>(in.measured_time.value));
  }
  return json;
}

}  // namespace

std::string inputs_hash(const Point& point) {
  const std::string text = fmt::format("{}|{}", kRowSchemaVersion, point.resolved.dump());
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

Json make_result_row(const RowInputs& in) {
  const RequestStatistics& s = in.statistics;
  const double num_requests = static_cast<double>(s.requests.size());
  std::vector<double> ttft_ms, wait_ms;
  for (const MeasuredRequest& request : s.requests) {
    ttft_ms.push_back(to_milliseconds(request.first_token - request.arrival));
    wait_ms.push_back(to_milliseconds(request.admission - request.arrival));
  }
  Json row = identity(in);
  row["schema_version"] = kRowSchemaVersion;
  row["inputs"] = inputs_hash(in.point);
  row["verdict"] = in.plan.open_arrivals() ? s.verdict() : "STABLE";
  row["ttft"] = record::ttft_statistics(ttft_ms, {.requests_in_flight = in.point.workload.max_in_flight(),
                                                  .noise = in.point.noise,
                                                  .open_arrivals = in.plan.open_arrivals()});
  if (!in.point.slo_ttft_ms.empty()) row["slo_attainment"] = slo_attainment(in.point.slo_ttft_ms, ttft_ms);
  if (in.point.keep_requests) row["requests"] = {{"ttft_ms", ttft_ms}};
  row["operation_shapes"] = operation_shapes(in);
  row["bottleneck"] = record::name_of(record::bottleneck(s.time));
  row["time_ms"] = time_per_request(in, num_requests);
  row["identification_ms"] = to_milliseconds(s.time.identification) / num_requests;
  row["request_throughput_per_s"] = ratio(num_requests, to_seconds(in.measured_time));
  row["workload"] = workload(in, num_requests);
  row["bytes_per_request"] = pipeline::bytes_per_request(s.account, num_requests);
  row["efficiency"] = pipeline::efficiency(s.account, num_requests);
  const auto mass_requests = static_cast<double>(s.mass_requests);
  row["attention_mass_kept"] = {{"mean", ratio(s.mass_sum, mass_requests)},
                                {"worst_layer", ratio(s.mass_worst_sum, mass_requests)},
                                {"requests", s.mass_requests}};
  row["chosen_recall"] =
      s.recall_selections == 0 ? Json(nullptr) : Json(s.recall_sum / static_cast<double>(s.recall_selections));
  row["cache"] = cache_state(in);
  row["busy"] = busy_shares(in);
  row["io"] = io(in);
  row["space"] = space(in);
  if (const pipeline::Reordering* on = in.system.reordering()) row["reordering"] = reordering(in, *on);
  return row;
}

}  // namespace reprefill::sim
