#include "core/pipeline/account_metrics.hpp"

namespace reprefill::pipeline {
namespace {

double as_double(Bytes bytes) { return static_cast<double>(bytes.value); }

}  // namespace

Json ratio(double numerator, double denominator) {
  return denominator > 0 ? Json(numerator / denominator) : Json(nullptr);
}
Json ratio(Bytes numerator, Bytes denominator) { return ratio(as_double(numerator), as_double(denominator)); }

Json bytes_per_request(const RequestAccount& a, double num_requests) {
  Json json = Json::object();
  const auto mean = [&](const char* key, Bytes total) { json[key] = as_double(total) / num_requests; };
  mean("logical_bytes", a.payload_read + a.identification_read);
  mean("requested_bytes", a.payload_requested + a.identification_requested);
  mean("useful_bytes", a.payload_useful + a.identification_needed);
  mean("identification_needed_bytes", a.identification_needed);
  mean("identification_read_bytes", a.identification_read);
  mean("identification_requested_bytes", a.identification_requested);
  mean("identification_host_hit_bytes", a.identification_host_hits);
  mean("payload_needed_bytes", a.payload_needed);
  mean("payload_read_bytes", a.payload_read);
  mean("payload_requested_bytes", a.payload_requested);
  mean("payload_useful_bytes", a.payload_useful);
  mean("payload_host_hit_bytes", a.payload_host_hits);
  mean("payload_gpu_hit_bytes", a.payload_gpu_hits);
  mean("prefetch_read_bytes", a.prefetch_read);
  mean("prefetch_wasted_bytes", a.prefetch_read - a.prefetch_used);
  mean("prefetch_dropped_bytes", a.prefetch_dropped);
  mean("appended_bytes", a.appended);
  json["read_requests"] = static_cast<double>(a.num_reads) / num_requests;
  return json;
}

Json efficiency(const RequestAccount& a, double num_requests) {
  Json json = Json::object();
  const auto count = [](std::uint64_t value) { return static_cast<double>(value); };
  json["amplification_payload"] = ratio(a.payload_requested, a.payload_useful_from_reads);
  json["amplification_with_identification"] =
      ratio(a.payload_requested + a.identification_requested, a.payload_useful_from_reads);
  json["tokens_loaded_per_token_selected"] = ratio(count(a.kv_tokens_in_pieces), count(a.kv_tokens_kept));
  json["effective_budget"] = ratio(count(a.kv_tokens_kept), count(a.kv_tokens_stored));
  json["gpu_hit_fraction"] = ratio(count(a.pieces_gpu_hits), count(a.pieces_needed));
  json["host_hit_fraction"] = ratio(count(a.pieces_host_hits), count(a.pieces_needed));
  json["prefetch_precision"] = ratio(a.prefetch_used, a.prefetch_read);
  json["prefetch_recall"] = ratio(a.prefetch_used, a.needed_from_ssd_after_leader);
  json["prefetch_pieces_declined"] = count(a.prefetch_pieces_declined) / num_requests;
  json["identifications"] = count(a.num_identifications) / num_requests;
  json["approximate_tokens_reused"] = count(a.approximate_tokens_reused) / num_requests;
  json["fallback_layers"] = count(a.num_fallback_layers) / num_requests;
  return json;
}

}  // namespace reprefill::pipeline
