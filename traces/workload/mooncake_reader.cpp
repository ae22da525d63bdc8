#include <memory>
#include <optional>
#include <vector>

#include "core/base/error.hpp"
#include "traces/workload/block_table.hpp"
#include "traces/workload/json_fields.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

namespace dom = simdjson::dom;

constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;

enum Field : unsigned { timestamp, input_length, output_length, hash_ids, num_fields };

/// What an id's first occurrence fixes: whom it follows.
struct FirstUse {
  std::uint64_t predecessor = 0;
  std::uint32_t line = 0;  // from 1; 0: the id has not been seen
  bool starts_prompt = false;
};

class MooncakeReader {
 public:
  /// `size_hint`: bytes of the text, where they are known.
  MooncakeReader(std::unique_ptr<ByteSource> bytes, std::string origin, const MooncakeOptions& options,
                 std::uint64_t size_hint)
      : lines_(std::move(bytes), std::move(origin)),
        keys_({"timestamp", "input_length", "output_length", "hash_ids"}, num_fields),
        trace_(options.block_tokens),
        // Consecutive ids written with all their digits and a comma stay below this, once there are many of them.
        first_uses_(size_hint / 6 + 1) {
    // Published files have about 8 bytes for an id and 250 for a request.
    trace_.reserve(size_hint / 250 + 1, size_hint / 8 + 1);
  }

  RequestTrace read() {
    while (const std::optional<dom::object> object = lines_.next()) read_request(*object);
    if (trace_.empty()) lines_.fail_empty();
    return std::move(trace_);
  }

 private:
  void read_request(dom::object object) {
    const detail::Place place = lines_.place();
    keys_.read(object, place);
    read_arrival(place);
    const auto tokens = [&](Field field, std::uint64_t minimum) {
      return static_cast<std::uint32_t>(
          place.read_whole(keys_.name(field), keys_[field], minimum, kMaxRequestTokens, "tokens"));
    };
    const std::uint32_t input_tokens = tokens(input_length, 1);
    const std::uint32_t output_tokens = tokens(output_length, 0);
    place.read_ids("hash_ids", keys_[hash_ids], ids_);
    check_ids(input_tokens, place);
    trace_.append(
        {.arrival = arrival_, .input_tokens = input_tokens, .output_tokens = output_tokens, .block_ids = ids_});
    last_request_line_ = lines_.line_number();
  }

  void read_arrival(const detail::Place& place) {
    const std::uint64_t milliseconds =
        place.read_whole("timestamp", keys_[timestamp], 0, kMaxTimestampMs, "milliseconds");
    const Nanoseconds arrival{static_cast<std::int64_t>(milliseconds) * kNanosecondsPerMillisecond};
    if (!trace_.empty() && arrival < arrival_) {
      place.fail("timestamp",
                 fmt::format("found {} after {} in line {}", milliseconds, arrival_.value / kNanosecondsPerMillisecond,
                             last_request_line_),
                 "requests in order of arrival");
    }
    arrival_ = arrival;
  }

  void check_ids(std::uint32_t input_tokens, const detail::Place& place) {
    const std::uint32_t expected = trace_.num_blocks(input_tokens);
    if (ids_.size() != expected) {
      place.fail("hash_ids", fmt::format("found {} ids", ids_.size()),
                 fmt::format("{}, one for each block of {} tokens of the {} input tokens, the partly filled last one "
                             "included",
                             expected, trace_.block_tokens(), input_tokens));
    }
    for (std::size_t position = 0; position < ids_.size(); ++position) {
      const std::uint64_t predecessor = position == 0 ? 0 : ids_[position - 1];
      FirstUse& first = first_uses_[ids_[position]];
      if (first.line == 0) {
        first = {.predecessor = predecessor, .line = lines_.line_number(), .starts_prompt = position == 0};
      } else if (first.predecessor != predecessor || first.starts_prompt != (position == 0)) {
        fail_two_predecessors(position, first, place);
      }
    }
  }

  [[noreturn]] void fail_two_predecessors(std::size_t position, const FirstUse& first,
                                          const detail::Place& place) const {
    const auto after = [](bool starts_prompt, std::uint64_t predecessor) {
      return starts_prompt ? std::string("at the start of a prompt") : fmt::format("after block {}", predecessor);
    };
    const std::string here = after(position == 0, position == 0 ? 0 : ids_[position - 1]);
    place.fail(fmt::format("hash_ids[{}]", position),
               fmt::format("found block {} {}, but in line {} {}", ids_[position], here, first.line,
                           after(first.starts_prompt, first.predecessor)),
               "an id to have always the same predecessor, because ids stand for everything before them too");
  }

  detail::JsonLines lines_;
  detail::KnownKeys keys_;
  RequestTrace trace_;
  detail::BlockTable<FirstUse> first_uses_;
  std::uint32_t last_request_line_ = 0;
  Nanoseconds arrival_;
  std::vector<std::uint64_t> ids_;  // of the request being read; keeps its memory from line to line
};

void check_options(const MooncakeOptions& options, std::string_view origin) {
  if (options.block_tokens == 0 || options.block_tokens > kMaxRequestTokens) {
    throw ConfigError(fmt::format("{}: found block_tokens {}; expected a whole number of tokens from 1 to {}", origin,
                                  options.block_tokens, kMaxRequestTokens));
  }
}

}  // namespace

RequestTrace read_mooncake_jsonl(const std::filesystem::path& path, const MooncakeOptions& options) {
  check_options(options, path.string());
  std::unique_ptr<ByteSource> bytes = open_bytes(path);
  std::error_code no_size;  // of a pipe, say
  const std::uintmax_t file_bytes = std::filesystem::file_size(path, no_size);
  return MooncakeReader(std::move(bytes), path.string(), options, no_size ? 0 : file_bytes).read();
}

RequestTrace parse_mooncake_jsonl(std::string_view text, std::string_view origin, const MooncakeOptions& options) {
  check_options(options, origin);
  return MooncakeReader(bytes_of(text), std::string(origin), options, text.size()).read();
}

}  // namespace reprefill::traces
