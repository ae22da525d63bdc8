#include <charconv>
#include <chrono>
#include <numeric>

#include "core/base/error.hpp"
#include "traces/workload/json_fields.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/trace_readers.hpp"

namespace reprefill::traces::detail {
namespace {

constexpr std::string_view kHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";
constexpr std::string_view kTimeForm = "a time like 2023-11-16 18:15:46.6805900, from 1970 to 2200";

/// A number of exactly `digits` digits at the front of `text`, which moves on past it.
std::optional<int> take_digits(std::string_view& text, std::size_t digits) {
  int number = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc() || end != text.data() + digits || number < 0) return std::nullopt;
  text.remove_prefix(digits);
  return number;
}

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

/// Nothing, or a point and 1 to 9 digits, in nanoseconds.
std::optional<std::int64_t> take_fraction(std::string_view& text) {
  if (!take(text, ".")) return 0;
  std::int64_t fraction = 0;
  std::int64_t unit = 1'000'000'000;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    if (unit == 1) return std::nullopt;
    unit /= 10;
    fraction += (text.front() - '0') * unit;
    text.remove_prefix(1);
  }
  return unit == 1'000'000'000 ? std::nullopt : std::optional(fraction);
}

/// UTC, since 1970.
std::optional<Nanoseconds> parse_time(std::string_view text) {
  const auto year = take_digits(text, 4);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = take_digits(text, 2);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = take_digits(text, 2);
  if (!day || !take(text, " ")) return std::nullopt;
  const auto hour = take_digits(text, 2);
  if (!hour || !take(text, ":")) return std::nullopt;
  const auto minute = take_digits(text, 2);
  if (!minute || !take(text, ":")) return std::nullopt;
  const auto second = take_digits(text, 2);
  if (!second) return std::nullopt;
  const auto fraction = take_fraction(text);
  if (!fraction) return std::nullopt;
  take(text, "+00:00");
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!text.empty() || !date.ok() || *year < 1970 || *year > 2200 || *hour > 23 || *minute > 59 || *second > 59) {
    return std::nullopt;
  }
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t seconds = ((days * 24 + *hour) * 60 + *minute) * 60 + *second;
  return Nanoseconds{seconds * 1'000'000'000 + *fraction};
}

class AzureReader final : public TraceReader {
 public:
  explicit AzureReader(std::uint32_t block_tokens) : trace_(block_tokens) {}

  void add(std::unique_ptr<ByteSource> bytes, const std::string& origin) override {
    LineReader lines(std::move(bytes), origin);
    std::optional<std::string_view> line = next_line(lines);
    if (line != kHeader) {
      Place(origin, 1).fail("", fmt::format("found {}", line ? excerpt(std::string(*line)) : "an empty file"),
                            fmt::format("the header {}", kHeader));
    }
    while ((line = next_line(lines))) {
      if (!line->empty()) read_request(*line, Place(origin, lines.line_number()));
    }
  }

  RequestTrace finish(const std::string& origin) override {
    if (trace_.empty()) throw ConfigError(fmt::format("{}: found no requests; expected one a line", origin));
    trace_.sort_by_arrival(RequestTrace::TimeOrigin::first_arrival);
    return std::move(trace_);
  }

 private:
  static std::optional<std::string_view> next_line(LineReader& lines) {
    std::optional<std::string_view> line = lines.next();
    if (line && line->ends_with('\r')) line->remove_suffix(1);
    return line;
  }

  void read_request(std::string_view line, const Place& place) {
    const std::size_t first = line.find(',');
    const std::size_t second = first == line.npos ? line.npos : line.find(',', first + 1);
    if (second == line.npos || line.find(',', second + 1) != line.npos) {
      place.fail("", fmt::format("found {}", excerpt(std::string(line))), "three fields separated by commas");
    }
    const std::optional<Nanoseconds> arrival = parse_time(line.substr(0, first));
    if (!arrival) {
      place.fail("TIMESTAMP", fmt::format("found {}", excerpt(std::string(line.substr(0, first)))), kTimeForm);
    }
    if (!trace_.empty() && *arrival < trace_[trace_.size() - 1].arrival) {
      place.fail("TIMESTAMP", fmt::format("found {} after a later time", line.substr(0, first)),
                 "requests in order of arrival");
    }
    const std::uint32_t input_tokens =
        read_tokens("ContextTokens", line.substr(first + 1, second - first - 1), 1, place);
    const std::uint32_t output_tokens = read_tokens("GeneratedTokens", line.substr(second + 1), 0, place);
    ids_.resize(trace_.num_blocks(input_tokens));
    std::iota(ids_.begin(), ids_.end(), next_id_);
    next_id_ += ids_.size();
    trace_.append(
        {.arrival = *arrival, .input_tokens = input_tokens, .output_tokens = output_tokens, .block_ids = ids_});
  }

  static std::uint32_t read_tokens(std::string_view key, std::string_view text, std::uint32_t minimum,
                                   const Place& place) {
    std::uint32_t tokens = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
    if (error != std::errc() || end != text.data() + text.size() || tokens < minimum || tokens > kMaxRequestTokens) {
      place.fail(key, fmt::format("found {}", excerpt(std::string(text))),
                 fmt::format("a whole number of tokens from {} to {}", minimum, kMaxRequestTokens));
    }
    return tokens;
  }

  RequestTrace trace_;
  std::uint64_t next_id_ = 0;
  std::vector<std::uint64_t> ids_;
};

}  // namespace

std::unique_ptr<TraceReader> make_azure_reader(std::uint32_t block_tokens) {
  if (block_tokens == 0 || block_tokens > kMaxRequestTokens) {
    throw ConfigError(fmt::format("block_tokens: found {}; expected a whole number of tokens from 1 to {}",
                                  block_tokens, kMaxRequestTokens));
  }
  return std::make_unique<AzureReader>(block_tokens);
}

}  // namespace reprefill::traces::detail
