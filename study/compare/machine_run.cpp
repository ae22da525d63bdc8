#include "study/compare/machine_run.hpp"

namespace reprefill::study {
namespace {

using pipeline::RequestAccount;

constexpr std::pair<const char*, Bytes RequestAccount::*> kByteCounters[] = {
    {"identification_needed_bytes", &RequestAccount::identification_needed},
    {"identification_read_bytes", &RequestAccount::identification_read},
    {"identification_requested_bytes", &RequestAccount::identification_requested},
    {"identification_host_hit_bytes", &RequestAccount::identification_host_hits},
    {"payload_needed_bytes", &RequestAccount::payload_needed},
    {"payload_read_bytes", &RequestAccount::payload_read},
    {"payload_requested_bytes", &RequestAccount::payload_requested},
    {"payload_host_hit_bytes", &RequestAccount::payload_host_hits},
    {"payload_gpu_hit_bytes", &RequestAccount::payload_gpu_hits},
    {"payload_useful_bytes", &RequestAccount::payload_useful},
    {"payload_useful_from_reads_bytes", &RequestAccount::payload_useful_from_reads},
    {"prefetch_read_bytes", &RequestAccount::prefetch_read},
    {"prefetch_used_bytes", &RequestAccount::prefetch_used},
    {"prefetch_dropped_bytes", &RequestAccount::prefetch_dropped},
    {"needed_from_ssd_after_leader_bytes", &RequestAccount::needed_from_ssd_after_leader},
    {"appended_bytes", &RequestAccount::appended}};
constexpr std::pair<const char*, std::uint64_t RequestAccount::*> kCounters[] = {
    {"num_reads", &RequestAccount::num_reads},
    {"pieces_needed", &RequestAccount::pieces_needed},
    {"pieces_gpu_hits", &RequestAccount::pieces_gpu_hits},
    {"pieces_host_hits", &RequestAccount::pieces_host_hits},
    {"prefetch_pieces_declined", &RequestAccount::prefetch_pieces_declined},
    {"num_identifications", &RequestAccount::num_identifications},
    {"num_fallback_layers", &RequestAccount::num_fallback_layers},
    {"kv_tokens_in_pieces", &RequestAccount::kv_tokens_in_pieces},
    {"kv_tokens_kept", &RequestAccount::kv_tokens_kept},
    {"kv_tokens_stored", &RequestAccount::kv_tokens_stored},
    {"approximate_tokens_reused", &RequestAccount::approximate_tokens_reused}};
// A counter that is added to the account must be compared too.
static_assert(sizeof(RequestAccount) == 8 * (std::size(kByteCounters) + std::size(kCounters)));

Json request_json(const MachineRequest& request) {
  Json json = {{"ttft_ns", request.ttft.value}, {"identification_ns", request.time.identification.value}};
  for (int i = 0; i < record::kNumTimeClasses; ++i) {
    const auto time_class = static_cast<record::TimeClass>(i);
    json["time_ns"][record::name_of(time_class)] = request.time[time_class].value;
  }
  json["spans"] = Json::object();
  for (int kind = 0; kind < kNumSpanKinds; ++kind) {
    const SpanTotal& total = request.spans[static_cast<std::size_t>(kind)];
    if (total.count > 0) {
      json["spans"][std::to_string(kind)] = {{"count", total.count}, {"service_ns", total.service.value}};
    }
  }
  json["account"] = request.account;
  return json;
}

MachineRequest request_from_json(const Json& json) {
  MachineRequest request;
  request.ttft = Nanoseconds{json.at("ttft_ns").get<std::int64_t>()};
  request.time.identification = Nanoseconds{json.at("identification_ns").get<std::int64_t>()};
  for (int i = 0; i < record::kNumTimeClasses; ++i) {
    const auto time_class = static_cast<record::TimeClass>(i);
    request.time[time_class] = Nanoseconds{json.at("time_ns").at(record::name_of(time_class)).get<std::int64_t>()};
  }
  for (const auto& [kind, total] : json.at("spans").items()) {
    request.spans.at(std::stoul(kind)) = {.count = total.at("count").get<std::uint64_t>(),
                                          .service = Nanoseconds{total.at("service_ns").get<std::int64_t>()}};
  }
  request.account = json.at("account");
  return request;
}

}  // namespace

int span_kind_of(const record::Span& span) {
  return static_cast<int>(span.operation) * record::kNumResources + static_cast<int>(span.resource);
}

std::string span_kind_name(int kind) {
  return fmt::format("{} on {}", record::name_of(static_cast<record::Operation>(kind / record::kNumResources)),
                     record::name_of(static_cast<record::Resource>(kind % record::kNumResources)));
}

Json account_json(const RequestAccount& account) {
  Json json = Json::object();
  for (const auto& [name, member] : kByteCounters) json[name] = (account.*member).value;
  for (const auto& [name, member] : kCounters) json[name] = account.*member;
  return json;
}

MachineRequest measured_request(const pipeline::Request& request, Nanoseconds ttft, const record::TimeBreakdown& time,
                                std::span<const record::Span> spans) {
  MachineRequest result{.ttft = ttft, .time = time, .account = account_json(request.account), .spans = {}};
  for (const record::Span& span : spans) {
    SpanTotal& total = result.spans[static_cast<std::size_t>(span_kind_of(span))];
    ++total.count;
    total.service += span.end - span.start;
  }
  return result;
}

std::vector<record::Span> from_arrival(std::span<const record::Span> spans, Nanoseconds arrival) {
  std::vector<record::Span> moved(spans.begin(), spans.end());
  for (record::Span& span : moved) {
    for (Nanoseconds* time : {&span.issued, &span.ready, &span.start, &span.end}) *time = *time - arrival;
  }
  return moved;
}

Json to_json(const MachineRun& run) {
  Json json = {{"num_decisions", run.num_decisions},
               {"decisions_digest", run.decisions_digest},
               {"identification_digest", run.identification_digest},
               {"warmup_accounts", run.warmup_accounts},
               {"requests", Json::array()}};
  for (const MachineRequest& request : run.requests) json["requests"].push_back(request_json(request));
  return json;
}

MachineRun machine_run_from_json(const Json& json) {
  MachineRun run;
  run.num_decisions = json.at("num_decisions").get<std::uint64_t>();
  run.decisions_digest = json.at("decisions_digest").get<std::string>();
  run.identification_digest = json.at("identification_digest").get<std::string>();
  run.warmup_accounts = json.at("warmup_accounts");
  for (const Json& request : json.at("requests")) run.requests.push_back(request_from_json(request));
  return run;
}

Json spans_json(std::span<const record::Span> spans) {
  Json list = Json::array();
  for (const record::Span& span : spans) {
    list.push_back({static_cast<int>(span.operation), static_cast<int>(span.resource), span.request, span.layer_idx,
                    span.bytes.value, span.issued.value, span.ready.value, span.start.value, span.end.value});
  }
  return list;
}

std::vector<record::Span> spans_from_json(const Json& json) {
  std::vector<record::Span> spans;
  for (const Json& item : json) {
    spans.push_back({.operation = static_cast<record::Operation>(item.at(0).get<int>()),
                     .resource = static_cast<record::Resource>(item.at(1).get<int>()),
                     .request = item.at(2).get<std::uint32_t>(),
                     .layer_idx = item.at(3).get<std::int32_t>(),
                     .bytes = Bytes{item.at(4).get<std::uint64_t>()},
                     .issued = Nanoseconds{item.at(5).get<std::int64_t>()},
                     .ready = Nanoseconds{item.at(6).get<std::int64_t>()},
                     .start = Nanoseconds{item.at(7).get<std::int64_t>()},
                     .end = Nanoseconds{item.at(8).get<std::int64_t>()}});
  }
  return spans;
}

}  // namespace reprefill::study
