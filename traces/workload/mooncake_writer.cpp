#include <fmt/format.h>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;

void append_number(std::string& text, std::uint64_t number) {
  const fmt::format_int digits(number);
  text.append(digits.data(), digits.size());
}

void check_format_can_hold(const TraceRequest& request, std::size_t request_idx) {
  const auto fail = [&](std::string_view found, std::string_view expected) {
    throw ConfigError(fmt::format("request {} cannot be written as Mooncake JSONL: found {}; expected {}", request_idx,
                                  found, expected));
  };
  const std::int64_t arrival_ns = request.arrival.value;
  if (arrival_ns < 0 || arrival_ns % kNanosecondsPerMillisecond != 0 ||
      arrival_ns / kNanosecondsPerMillisecond > static_cast<std::int64_t>(kMaxTimestampMs)) {
    fail(fmt::format("an arrival at {} ns", arrival_ns),
         fmt::format("a whole number of milliseconds from 0 to {}", kMaxTimestampMs));
  }
  if (request.input_tokens == 0 || request.input_tokens > kMaxRequestTokens) {
    fail(fmt::format("{} input tokens", request.input_tokens), fmt::format("1 to {}", kMaxRequestTokens));
  }
  if (request.output_tokens > kMaxRequestTokens) {
    fail(fmt::format("{} output tokens", request.output_tokens), fmt::format("0 to {}", kMaxRequestTokens));
  }
}

void append_line(std::string& text, const TraceRequest& request) {
  text += "{\"timestamp\": ";
  append_number(text, static_cast<std::uint64_t>(request.arrival.value / kNanosecondsPerMillisecond));
  text += ", \"input_length\": ";
  append_number(text, request.input_tokens);
  text += ", \"output_length\": ";
  append_number(text, request.output_tokens);
  text += ", \"hash_ids\": [";
  const char* separator = "";
  for (const std::uint64_t id : request.block_ids) {
    text += separator;
    append_number(text, id);
    separator = ", ";
  }
  text += "]}\n";
}

}  // namespace

std::string to_mooncake_jsonl(const RequestTrace& trace) {
  std::string text;
  for (std::size_t request_idx = 0; request_idx < trace.size(); ++request_idx) {
    const TraceRequest request = trace[request_idx];
    check_format_can_hold(request, request_idx);
    append_line(text, request);
  }
  return text;
}

void write_mooncake_jsonl(const RequestTrace& trace, const std::filesystem::path& path) {
  write_file_atomically(path, to_mooncake_jsonl(trace));
}

}  // namespace reprefill::traces
