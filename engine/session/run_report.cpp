#include "engine/session/run_report.hpp"

#include "core/base/text_table.hpp"
#include "core/pipeline/account_metrics.hpp"
#include "core/record/ttft_statistics.hpp"

namespace reprefill::engine {
namespace {

constexpr int kReportSchemaVersion = 1;

Json time_json(const record::TimeBreakdown& time, double num_requests) {
  Json json = Json::object();
  for (int i = 0; i < record::kNumTimeClasses; ++i) {
    const auto time_class = static_cast<record::TimeClass>(i);
    json[record::name_of(time_class)] = to_milliseconds(time[time_class]) / num_requests;
  }
  return json;
}

/// A model may choose a padding row of its embedding that no token has: there is nothing to print.
std::string text_of(const RequestOutcome& outcome, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = outcome.generated;
  std::erase_if(ids, [&](std::int32_t id) { return id >= tokenizer.num_ids(); });
  return tokenizer.decode(ids);
}

struct Totals {
  pipeline::RequestAccount account;
  record::TimeBreakdown time;
  std::vector<double> ttft_ms;
};

Totals sum_up(std::span<const RequestOutcome> outcomes) {
  Totals totals;
  for (const RequestOutcome& outcome : outcomes) {
    totals.account += outcome.request.account;
    for (std::size_t i = 0; i < totals.time.by_class.size(); ++i) {
      totals.time.by_class[i] += outcome.time.by_class[i];
    }
    totals.time.identification += outcome.time.identification;
    totals.ttft_ms.push_back(to_milliseconds(outcome.ttft()));
  }
  return totals;
}

std::string percent(double part, double whole) { return fmt::format("{:.0f} %", whole > 0 ? 100 * part / whole : 0.0); }

std::string mebibytes(Bytes bytes) { return fmt::format("{:.2f} MiB", static_cast<double>(bytes.value) / (1 << 20)); }

void add_time(TextTable& table, const Totals& totals) {
  const auto num_requests = static_cast<double>(totals.ttft_ms.size());
  double sum = 0;
  for (const double ttft : totals.ttft_ms) sum += ttft;
  table.add_row({"TTFT", fmt::format("{:.2f} ms", sum / num_requests)});
  for (int i = 0; i < record::kNumTimeClasses; ++i) {
    const auto time_class = static_cast<record::TimeClass>(i);
    const double total = to_milliseconds(totals.time[time_class]);
    table.add_row({fmt::format("  {}", record::name_of(time_class)),
                   fmt::format("{:.2f} ms, {}", total / num_requests, percent(total, sum))});
  }
  table.add_row(
      {"identification", fmt::format("{:.2f} ms", to_milliseconds(totals.time.identification) / num_requests)});
}

std::string gpu_tier(const Model& model) {
  return model.executor->gpu() == nullptr ? "a pool in host memory" : "memory of " + model.executor->describe();
}

void add_bytes(TextTable& table, const Model& model, const pipeline::RequestAccount& account, double num_requests) {
  const auto mean = [&](Bytes total) {
    return mebibytes(Bytes{static_cast<std::uint64_t>(static_cast<double>(total.value) / num_requests)});
  };
  table.add_row({"read for identification", mean(account.identification_requested)});
  table.add_row({"read of K and V", fmt::format("{} in {:.0f} requests", mean(account.payload_requested),
                                                static_cast<double>(account.num_reads) / num_requests)});
  const auto needed = static_cast<double>(account.pieces_needed);
  table.add_row({fmt::format("hits, GPU tier ({})", gpu_tier(model)),
                 percent(static_cast<double>(account.pieces_gpu_hits), needed)});
  table.add_row({"hits, host tier", percent(static_cast<double>(account.pieces_host_hits), needed)});
  const Json efficiency = pipeline::efficiency(account, num_requests);
  for (const char* key : {"amplification_payload", "tokens_loaded_per_token_selected", "effective_budget"}) {
    const Json& value = efficiency.at(key);
    table.add_row({key, value.is_null() ? "-" : fmt::format("{:.3f}", value.get<double>())});
  }
}

void add_append(TextTable& table, const AppendCounts& counts, const pipeline::RequestAccount& account) {
  if (counts.segments == 0) return;
  table.add_row({"appended, all requests",
                 fmt::format("{} in {} segments, {} writes", mebibytes(counts.bytes), counts.segments, counts.writes)});
  table.add_row({"approximate tokens reused", std::to_string(account.approximate_tokens_reused)});
}

}  // namespace

Json report_request(const RequestOutcome& outcome, const Tokenizer& tokenizer) {
  const pipeline::Request& request = outcome.request;
  Json json = Json::object();
  json["id"] = outcome.name;
  json["text"] = text_of(outcome, tokenizer);
  json["ids"] = outcome.generated;
  json["prompt_tokens"] = request.prompt_tokens;
  json["stored_tokens"] = request.stored_tokens;
  json["own_tokens"] = request.own_tokens;
  json["appended_tokens"] = request.append ? request.append->num_tokens : 0;
  json["ttft_ms"] = to_milliseconds(outcome.ttft());
  json["bottleneck"] = record::name_of(record::bottleneck(outcome.time));
  json["time_ms"] = time_json(outcome.time, 1);
  json["identification_ms"] = to_milliseconds(outcome.time.identification);
  json["bytes"] = pipeline::bytes_per_request(request.account, 1);
  json["efficiency"] = pipeline::efficiency(request.account, 1);
  return json;
}

Json report_run(const Session& session, std::span<const RequestOutcome> outcomes, const Model& model) {
  const Totals totals = sum_up(outcomes);
  const auto num_requests = static_cast<double>(outcomes.size());
  Json json = Json::object();
  json["schema_version"] = kReportSchemaVersion;
  json["model"] = model.checkpoint->geometry().name;
  json["device"] = model.executor->gpu() == nullptr ? "cpu" : "cuda";
  json["executor"] = model.executor->describe();
  json["gpu_tier"] = gpu_tier(model);
  json["storage"] = session.describe_storage();
  json["resolved"] = session.resolved();
  json["decisions_digest"] = fmt::format("{:016x}", session.decisions().digest());
  json["gpu_tier_and_workspace_peak_bytes"] = session.device_peak().value;
  json["host_tier_peak_bytes"] = session.host_peak().value;
  const AppendCounts appended = session.append_counts();
  json["appended"] = {{"segments", appended.segments}, {"writes", appended.writes}, {"bytes", appended.bytes.value}};
  json["requests"] = Json::array();
  for (const RequestOutcome& outcome : outcomes) {
    json["requests"].push_back(report_request(outcome, *model.tokenizer));
  }
  json["mean"] = {{"ttft_ms",
                   [&] {
                     double sum = 0;
                     for (const double ttft : totals.ttft_ms) sum += ttft;
                     return pipeline::ratio(sum, num_requests);
                   }()},
                  {"time_ms", time_json(totals.time, num_requests)},
                  {"bytes_per_request", pipeline::bytes_per_request(totals.account, num_requests)},
                  {"efficiency", pipeline::efficiency(totals.account, num_requests)}};
  return json;
}

std::string describe_run(const Session& session, std::span<const RequestOutcome> outcomes, const Model& model) {
  std::string text;
  for (const RequestOutcome& outcome : outcomes) {
    const std::string continuation = text_of(outcome, *model.tokenizer);
    text += outcomes.size() == 1 ? continuation + "\n"
                                 : fmt::format("{}: {:.2f} ms, {} of {} tokens stored:{}\n", outcome.name,
                                               to_milliseconds(outcome.ttft()), outcome.request.stored_tokens,
                                               outcome.request.prompt_tokens, continuation);
  }
  const Totals totals = sum_up(outcomes);
  TextTable table({"mean of requests", std::to_string(outcomes.size())});
  if (outcomes.size() == 1) {
    const pipeline::Request& request = outcomes.front().request;
    table = TextTable({"request", fmt::format("{} tokens: {} stored, {} computed", request.prompt_tokens,
                                              request.stored_tokens, request.own_tokens)});
  }
  table.add_row({"system", fmt::format("{} on {}", session.resolved().at("system").get<std::string>(),
                                       enum_name(session.path().kind))});
  table.add_row({"executor", model.executor->describe()});
  add_time(table, totals);
  add_bytes(table, model, totals.account, static_cast<double>(outcomes.size()));
  add_append(table, session.append_counts(), totals.account);
  table.add_row({"storage", session.describe_storage()});
  return text + "\n" + table.to_text();
}

}  // namespace reprefill::engine
