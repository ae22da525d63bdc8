#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include <simdjson.h>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "traces/workload/block_table.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

namespace dom = simdjson::dom;

constexpr std::string_view kUtf8ByteOrderMark = "\xEF\xBB\xBF";
constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;
/// A double is a whole number without doubt up to here.
constexpr double kMaxExactDouble = 9'007'199'254'740'992.0;

enum Field : unsigned { timestamp, input_length, output_length, hash_ids, num_fields };
constexpr std::string_view kFieldNames[num_fields] = {"timestamp", "input_length", "output_length", "hash_ids"};

std::optional<Field> field_of(std::string_view key) {
  for (unsigned field = 0; field < num_fields; ++field) {
    if (key == kFieldNames[field]) return static_cast<Field>(field);
  }
  return std::nullopt;
}

/// What an error message shows of a text: its beginning, cut between characters.
std::string excerpt(std::string text) {
  constexpr std::size_t kMaxShown = 60;
  if (text.size() <= kMaxShown) return text;
  std::size_t end = kMaxShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return text.substr(0, end) + "...";
}

std::string excerpt(dom::element value) { return excerpt(simdjson::minify(value)); }

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

/// What an id's first occurrence fixes: whom it follows.
struct FirstUse {
  std::uint64_t predecessor = 0;
  std::uint32_t line = 0;  // from 1; 0: the id has not been seen
  bool starts_prompt = false;
};

/// Reads line by line with simdjson's DOM. On-Demand would skip the values of unknown keys without checking them, and
/// pass garbage; the DOM checks every byte, and its number parsing uses the widest instructions of the CPU.
class MooncakeReader {
 public:
  MooncakeReader(std::string_view origin, const MooncakeOptions& options, std::size_t num_bytes)
      : origin_(origin),
        trace_(options.block_tokens),
        // Consecutive ids written with all their digits and a comma stay below this, once there are many of them.
        first_uses_(num_bytes / 6 + 1) {
    // Published files have about 8 bytes for an id and 250 for a request.
    trace_.reserve(num_bytes / 250 + 1, num_bytes / 8 + 1);
  }

  /// `padded_text` must be followed by SIMDJSON_PADDING readable bytes.
  RequestTrace read(std::string_view padded_text) {
    const char* at = padded_text.data();
    const char* const end = at + padded_text.size();
    if (padded_text.starts_with(kUtf8ByteOrderMark)) at += kUtf8ByteOrderMark.size();
    while (at != end) {
      const auto* line_end = static_cast<const char*>(std::memchr(at, '\n', static_cast<std::size_t>(end - at)));
      ends_with_newline_ = line_end != nullptr;
      if (line_end == nullptr) line_end = end;
      advance_line_number();
      const std::string_view line(at, static_cast<std::size_t>(line_end - at));
      if (!is_blank(line)) read_request(line);
      at = ends_with_newline_ ? line_end + 1 : end;
    }
    if (trace_.empty()) {
      throw ConfigError(fmt::format("{}: found no requests; expected one JSON object a line", origin_));
    }
    return std::move(trace_);
  }

 private:
  void advance_line_number() {
    if (line_number_ == std::numeric_limits<std::uint32_t>::max()) {
      throw ConfigError(fmt::format("{}: found more than {} lines; expected at most that many", origin_, line_number_));
    }
    ++line_number_;
  }

  void read_request(std::string_view line) {
    dom::element document;
    const simdjson::error_code error =
        parser_.parse(reinterpret_cast<const std::uint8_t*>(line.data()), line.size(), false).get(document);
    if (error != simdjson::SUCCESS) fail_not_json(error, line);
    dom::object object;
    if (document.get(object) != simdjson::SUCCESS) {
      fail("", fmt::format("found {}", excerpt(document)), "one JSON object a line");
    }
    read_fields(object);
    check_ids();
    trace_.append(
        {.arrival = arrival_, .input_tokens = input_tokens_, .output_tokens = output_tokens_, .block_ids = ids_});
    last_request_line_ = line_number_;
  }

  void read_fields(dom::object object) {
    unsigned fields_seen = 0;
    unknown_keys_.clear();
    for (const auto [key, value] : object) {
      const std::optional<Field> field = field_of(key);
      if (!field) {
        unknown_keys_.push_back(key);
        continue;
      }
      if ((fields_seen >> *field & 1u) != 0) fail_duplicate(key);
      fields_seen |= 1u << *field;
      read_field(*field, value);
    }
    for (unsigned field = 0; field < num_fields; ++field) {
      if ((fields_seen >> field & 1u) == 0) {
        fail(kFieldNames[field], "the key is missing", "the keys timestamp, input_length, output_length and hash_ids");
      }
    }
    if (unknown_keys_.size() > 1) refuse_duplicate_unknown_keys();
  }

  void refuse_duplicate_unknown_keys() {
    std::sort(unknown_keys_.begin(), unknown_keys_.end());
    const auto twin = std::adjacent_find(unknown_keys_.begin(), unknown_keys_.end());
    if (twin != unknown_keys_.end()) fail_duplicate(*twin);
  }

  void read_field(Field field, dom::element value) {
    switch (field) {
      case timestamp:
        return read_arrival(value);
      case input_length:
        input_tokens_ = static_cast<std::uint32_t>(read_whole(field, value, 1, kMaxRequestTokens, "tokens"));
        return;
      case output_length:
        output_tokens_ = static_cast<std::uint32_t>(read_whole(field, value, 0, kMaxRequestTokens, "tokens"));
        return;
      case hash_ids:
        return read_ids(value);
      case num_fields:
        break;
    }
    REPREFILL_CHECK(false, "field {} has no reader", static_cast<unsigned>(field));
  }

  void read_arrival(dom::element value) {
    const std::uint64_t milliseconds = read_whole(timestamp, value, 0, kMaxTimestampMs, "milliseconds");
    const Nanoseconds arrival{static_cast<std::int64_t>(milliseconds) * kNanosecondsPerMillisecond};
    if (!trace_.empty() && arrival < arrival_) {
      fail("timestamp",
           fmt::format("found {} after {} in line {}", milliseconds, arrival_.value / kNanosecondsPerMillisecond,
                       last_request_line_),
           "requests in order of arrival");
    }
    arrival_ = arrival;
  }

  void read_ids(dom::element value) {
    dom::array array;
    if (value.get(array) != simdjson::SUCCESS) {
      fail("hash_ids", fmt::format("found {}", excerpt(value)), "a list of block ids");
    }
    ids_.clear();
    for (const dom::element element : array) {
      std::uint64_t id = 0;
      if (element.get(id) != simdjson::SUCCESS) {
        fail(fmt::format("hash_ids[{}]", ids_.size()), fmt::format("found {}", excerpt(element)),
             "a whole number from 0 to 18446744073709551615");
      }
      ids_.push_back(id);
    }
  }

  std::uint64_t read_whole(Field field, dom::element value, std::uint64_t minimum, std::uint64_t maximum,
                           std::string_view unit) {
    std::uint64_t number = 0;
    bool is_whole = value.get(number) == simdjson::SUCCESS;
    if (double real = 0;
        !is_whole && value.type() == dom::element_type::DOUBLE && value.get(real) == simdjson::SUCCESS) {
      is_whole = real >= 0 && real <= kMaxExactDouble && std::trunc(real) == real;
      if (is_whole) number = static_cast<std::uint64_t>(real);
    }
    if (!is_whole || number < minimum || number > maximum) {
      fail(kFieldNames[field], fmt::format("found {}", excerpt(value)),
           fmt::format("a whole number of {} from {} to {}", unit, minimum, maximum));
    }
    return number;
  }

  void check_ids() {
    const std::uint32_t expected = trace_.num_blocks(input_tokens_);
    if (ids_.size() != expected) {
      fail(
          "hash_ids", fmt::format("found {} ids", ids_.size()),
          fmt::format("{}, one for each block of {} tokens of the {} input tokens, the partly filled last one included",
                      expected, trace_.block_tokens(), input_tokens_));
    }
    for (std::size_t position = 0; position < ids_.size(); ++position) {
      const std::uint64_t predecessor = position == 0 ? 0 : ids_[position - 1];
      FirstUse& first = first_uses_[ids_[position]];
      if (first.line == 0) {
        first = {.predecessor = predecessor, .line = line_number_, .starts_prompt = position == 0};
      } else if (first.predecessor != predecessor || first.starts_prompt != (position == 0)) {
        fail_two_predecessors(position, first);
      }
    }
  }

  [[noreturn]] void fail_two_predecessors(std::size_t position, const FirstUse& first) const {
    const auto after = [](bool starts_prompt, std::uint64_t predecessor) {
      return starts_prompt ? std::string("at the start of a prompt") : fmt::format("after block {}", predecessor);
    };
    const std::string here = after(position == 0, position == 0 ? 0 : ids_[position - 1]);
    fail(fmt::format("hash_ids[{}]", position),
         fmt::format("found block {} {}, but in line {} {}", ids_[position], here, first.line,
                     after(first.starts_prompt, first.predecessor)),
         "an id to have always the same predecessor, because ids stand for everything before them too");
  }

  [[noreturn]] void fail_not_json(simdjson::error_code error, std::string_view line) const {
    // Not simdjson's words for it: they differ between its versions and between CPUs.
    const bool is_too_deep = error == simdjson::DEPTH_ERROR;
    const std::string_view where = ends_with_newline_ ? "" : " (the last line, without a line end: cut off?)";
    fail("",
         fmt::format("found {}{}: {}", is_too_deep ? "JSON nested too deeply" : "text that is not valid JSON", where,
                     printable(line)),
         "one JSON object a line");
  }

  static std::string printable(std::string_view line) {
    std::string shown(line.substr(0, 60));
    for (char& c : shown) {
      if (c < ' ' || c > '~') c = '?';
    }
    return line.size() > shown.size() ? shown + "..." : shown;
  }

  [[noreturn]] void fail_duplicate(std::string_view key) const {
    fail(excerpt(std::string(key)), "found the key twice", "each key once");
  }

  [[noreturn]] void fail(std::string_view key, std::string_view found, std::string_view expected) const {
    throw ConfigError(fmt::format("{}:{}: {}{}{}; expected {}", origin_, line_number_, key, key.empty() ? "" : ": ",
                                  found, expected));
  }

  std::string_view origin_;
  dom::parser parser_;
  RequestTrace trace_;
  detail::BlockTable<FirstUse> first_uses_;
  std::uint32_t line_number_ = 0;
  std::uint32_t last_request_line_ = 0;
  bool ends_with_newline_ = true;
  // The request being read; the vectors keep their memory from line to line.
  Nanoseconds arrival_;
  std::uint32_t input_tokens_ = 0;
  std::uint32_t output_tokens_ = 0;
  std::vector<std::uint64_t> ids_;
  std::vector<std::string_view> unknown_keys_;
};

void check_options(const MooncakeOptions& options, std::string_view origin) {
  if (options.block_tokens == 0 || options.block_tokens > kMaxRequestTokens) {
    throw ConfigError(fmt::format("{}: found block_tokens {}; expected a whole number of tokens from 1 to {}", origin,
                                  options.block_tokens, kMaxRequestTokens));
  }
}

}  // namespace

RequestTrace read_mooncake_jsonl(const std::filesystem::path& path, const MooncakeOptions& options) {
  const std::string origin = path.string();
  check_options(options, origin);
  const FileContents contents = read_whole_file(path, simdjson::SIMDJSON_PADDING);
  return MooncakeReader(origin, options, contents.size).read(contents.text());
}

RequestTrace parse_mooncake_jsonl(std::string_view text, std::string_view origin, const MooncakeOptions& options) {
  check_options(options, origin);
  const simdjson::padded_string padded(text);
  return MooncakeReader(origin, options, text.size()).read(padded);
}

}  // namespace reprefill::traces
