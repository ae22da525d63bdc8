#include "study/compare/measured_requests.hpp"

#include <fmt/format.h>

#include <charconv>

#include "core/base/files.hpp"
#include "core/base/json.hpp"

namespace reprefill::study {
namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 31, kMostSegments = std::int64_t{1} << 31;

std::filesystem::path file_in(const std::filesystem::path& work_folder) { return work_folder / "requests.json"; }

Json request_json(const pipeline::Request& request) {
  Json prefix = Json::array();
  for (const SegmentSpan& span : request.stored_prefix) prefix.push_back({span.segment.value, span.num_tokens});
  return {{"prompt_tokens", request.prompt_tokens}, {"stored_prefix", prefix}};
}

pipeline::Request request_from_json(const JsonValue& value, std::uint32_t id,
                                    std::span<const std::uint32_t> segment_tokens) {
  pipeline::Request request;
  request.id = id;
  request.importance_id = id;
  request.prompt_tokens = static_cast<std::uint32_t>(value.key("prompt_tokens").as_integer(1, kMostTokens, "tokens"));
  const JsonValue prefix = value.key("stored_prefix");
  prefix.require_array();
  for (std::size_t i = 0; i < prefix.json().size(); ++i) {
    const JsonValue span = prefix.element(i);
    span.require_array();
    const auto segment = static_cast<std::uint32_t>(
        span.element(0).as_integer(0, static_cast<std::int64_t>(segment_tokens.size()) - 1, "a segment"));
    const std::int64_t tokens = span.element(1).as_integer(1, segment_tokens[segment], "tokens");
    request.stored_prefix.push_back({SegmentId{segment}, static_cast<std::uint32_t>(tokens)});
    request.stored_tokens += static_cast<std::uint32_t>(tokens);
  }
  if (request.stored_tokens >= request.prompt_tokens) prefix.fail_expected("fewer tokens than the prompt has");
  request.own_tokens = request.prompt_tokens - request.stored_tokens;
  request.hit_trace_tokens = request.stored_tokens;
  return request;
}

MeasuredPoint point_from_json(const JsonValue& value, std::span<const std::uint32_t> segment_tokens) {
  MeasuredPoint point;
  const JsonValue requests = value.key("requests");
  requests.require_array();
  const auto count = static_cast<std::uint32_t>(requests.json().size());
  for (std::uint32_t i = 0; i < count; ++i) {
    point.requests.push_back(request_from_json(requests.element(i), i, segment_tokens));
  }
  point.num_warmup =
      static_cast<std::size_t>(value.key("warmup_requests").as_integer(0, std::int64_t{count} - 1, "requests"));
  return point;
}

std::uint64_t fingerprint_of(const JsonValue& value) {
  const std::string text = value.as_string();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (error != std::errc() || end != text.data() + text.size()) value.fail_expected("a hexadecimal number");
  return number;
}

}  // namespace

void write_measured(const std::filesystem::path& work_folder, const MeasuredRequests& measured) {
  Json json = {{"schema_version", 1},
               {"model", measured.on.model},
               {"fingerprint", fmt::format("{:016x}", measured.on.fingerprint)},
               {"executor", measured.on.executor},
               {"segment_tokens", measured.segment_tokens},
               {"points", Json::array()}};
  for (const MeasuredPoint& point : measured.points) {
    Json requests = Json::array();
    for (const pipeline::Request& request : point.requests) requests.push_back(request_json(request));
    json["points"].push_back({{"warmup_requests", point.num_warmup}, {"requests", requests}});
  }
  write_file_atomically(file_in(work_folder), json.dump() + "\n");
}

MeasuredRequests read_measured(const std::filesystem::path& work_folder) {
  const std::filesystem::path file = file_in(work_folder);
  const Json json = read_json_file(file);
  const JsonValue all(json, file.string());
  all.key("schema_version").as_integer(1, 1, "schema version");
  MeasuredRequests measured{.on = {.model = all.key("model").as_string(),
                                   .fingerprint = fingerprint_of(all.key("fingerprint")),
                                   .executor = all.key("executor").as_string()},
                            .segment_tokens = {},
                            .points = {}};
  const JsonValue segments = all.key("segment_tokens");
  segments.require_array();
  if (segments.json().size() > static_cast<std::size_t>(kMostSegments)) segments.fail_expected("fewer segments");
  for (std::size_t i = 0; i < segments.json().size(); ++i) {
    measured.segment_tokens.push_back(
        static_cast<std::uint32_t>(segments.element(i).as_integer(1, kMostTokens, "tokens")));
  }
  const JsonValue points = all.key("points");
  points.require_array();
  for (std::size_t i = 0; i < points.json().size(); ++i) {
    measured.points.push_back(point_from_json(points.element(i), measured.segment_tokens));
  }
  return measured;
}

}  // namespace reprefill::study
