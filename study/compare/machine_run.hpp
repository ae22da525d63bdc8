// What one run of the same requests left on either machine: the thing that is compared.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "core/pipeline/request.hpp"
#include "core/record/time_classes.hpp"

namespace reprefill::study {

/// Spans of one kind ("read on ssd_demand") of one request, added up. They overlap: their sum is no part of the TTFT.
struct SpanTotal {
  std::uint64_t count = 0;
  Nanoseconds service{0};
  bool operator==(const SpanTotal&) const = default;
};
inline constexpr int kNumOperations = 13;
inline constexpr int kNumSpanKinds = kNumOperations * record::kNumResources;
int span_kind_of(const record::Span& span);
std::string span_kind_name(int kind);

struct MachineRequest {
  Nanoseconds ttft{0};
  record::TimeBreakdown time;
  Json account;  // every counter of the request's account, by name
  std::array<SpanTotal, kNumSpanKinds> spans{};
};

struct MachineRun {
  std::vector<MachineRequest> requests;  // the measured ones, in order
  Json warmup_accounts = Json::array();  // of the requests before them: equality covers these too
  std::uint64_t num_decisions = 0;
  std::string decisions_digest;
  std::string identification_digest;
  std::vector<record::Span> timeline;  // of the first measured request, from its arrival; not in JSON
};

Json account_json(const pipeline::RequestAccount& account);
/// From the spans of one request: its own, until its first token.
MachineRequest measured_request(const pipeline::Request& request, Nanoseconds ttft, const record::TimeBreakdown& time,
                                std::span<const record::Span> spans);
/// The same spans counted from the request's arrival.
std::vector<record::Span> from_arrival(std::span<const record::Span> spans, Nanoseconds arrival);

Json to_json(const MachineRun& run);
/// Of what `to_json` wrote into a journal, under a checksum.
MachineRun machine_run_from_json(const Json& json);

Json spans_json(std::span<const record::Span> spans);
std::vector<record::Span> spans_from_json(const Json& json);

}  // namespace reprefill::study
