#include "traces/workload/json_fields.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "core/base/error.hpp"

namespace reprefill::traces::detail {
namespace {

namespace dom = simdjson::dom;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

std::string printable(std::string_view line) {
  std::string shown(line.substr(0, 60));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return line.size() > shown.size() ? shown + "..." : shown;
}

[[noreturn]] void fail_duplicate(const Place& place, std::string_view key) {
  place.fail(excerpt(std::string(key)), "found the key twice", "each key once");
}

}  // namespace

std::string excerpt(std::string text) {
  constexpr std::size_t kMaxShown = 60;
  if (text.size() <= kMaxShown) return text;
  std::size_t end = kMaxShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return text.substr(0, end) + "...";
}

std::string excerpt(dom::element value) { return excerpt(simdjson::minify(value)); }

void Place::fail(std::string_view key, std::string_view found, std::string_view expected) const {
  const std::string line = line_ > 0 ? fmt::format(":{}", line_) : "";
  const std::string at = prefix_ + std::string(key);
  throw ConfigError(
      fmt::format("{}{}: {}{}{}; expected {}", origin_, line, at, at.empty() ? "" : ": ", found, expected));
}

std::uint64_t Place::read_whole(std::string_view key, dom::element value, std::uint64_t minimum, std::uint64_t maximum,
                                std::string_view unit) const {
  std::uint64_t number = 0;
  bool is_whole = value.get(number) == simdjson::SUCCESS;
  if (double real = 0; !is_whole && value.type() == dom::element_type::DOUBLE && value.get(real) == simdjson::SUCCESS) {
    is_whole = real >= 0 && real <= kMaxExactDouble && std::trunc(real) == real;
    if (is_whole) number = static_cast<std::uint64_t>(real);
  }
  if (!is_whole || number < minimum || number > maximum) {
    fail(key, fmt::format("found {}", excerpt(value)),
         fmt::format("a whole number of {} from {} to {}", unit, minimum, maximum));
  }
  return number;
}

Nanoseconds Place::read_seconds(std::string_view key, dom::element value, double maximum) const {
  double seconds = 0;
  if (value.get(seconds) != simdjson::SUCCESS || !(seconds >= 0 && seconds <= maximum)) {
    fail(key, fmt::format("found {}", excerpt(value)), fmt::format("seconds from 0 to {}", maximum));
  }
  return Nanoseconds{std::llround(seconds * 1e9)};
}

dom::array Place::read_array(std::string_view key, dom::element value, std::string_view of_what) const {
  dom::array array;
  if (value.get(array) != simdjson::SUCCESS) {
    fail(key, fmt::format("found {}", excerpt(value)), fmt::format("a list of {}", of_what));
  }
  return array;
}

void Place::read_ids(std::string_view key, dom::element value, std::vector<std::uint64_t>& ids) const {
  ids.clear();
  for (const dom::element element : read_array(key, value, "block ids")) {
    std::uint64_t id = 0;
    if (element.get(id) != simdjson::SUCCESS) {
      fail(fmt::format("{}[{}]", key, ids.size()), fmt::format("found {}", excerpt(element)),
           "a whole number from 0 to 18446744073709551615");
    }
    ids.push_back(id);
  }
}

std::string_view Place::read_text(std::string_view key, dom::element value) const {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) fail(key, fmt::format("found {}", excerpt(value)), "a text");
  return text;
}

void KnownKeys::read(dom::object object, const Place& place) {
  std::fill(values_.begin(), values_.end(), std::nullopt);
  unknown_.clear();
  for (const auto [key, value] : object) {
    const auto found = std::find(names_.begin(), names_.end(), key);
    if (found == names_.end()) {
      unknown_.push_back(key);
      continue;
    }
    std::optional<dom::element>& slot = values_[static_cast<std::size_t>(found - names_.begin())];
    if (slot) fail_duplicate(place, key);
    slot = value;
  }
  for (std::size_t i = 0; i < num_required_; ++i) {
    if (values_[i]) continue;
    const std::vector<std::string_view> required(names_.begin(),
                                                 names_.begin() + static_cast<std::ptrdiff_t>(num_required_));
    place.fail(names_[i], "the key is missing", fmt::format("the keys {}", fmt::join(required, ", ")));
  }
  std::sort(unknown_.begin(), unknown_.end());
  const auto twin = std::adjacent_find(unknown_.begin(), unknown_.end());
  if (twin != unknown_.end()) fail_duplicate(place, *twin);
}

std::optional<dom::object> JsonLines::next() {
  while (const std::optional<std::string_view> line = lines_.next()) {
    if (is_blank(*line)) continue;
    dom::element document;
    const simdjson::error_code error =
        parser_.parse(reinterpret_cast<const std::uint8_t*>(line->data()), line->size(), false).get(document);
    if (error != simdjson::SUCCESS) fail_not_json(error, *line);
    dom::object object;
    if (document.get(object) != simdjson::SUCCESS) {
      place().fail("", fmt::format("found {}", excerpt(document)), "one JSON object a line");
    }
    return object;
  }
  return std::nullopt;
}

void JsonLines::fail_empty() const {
  throw ConfigError(fmt::format("{}: found no requests; expected one JSON object a line", origin()));
}

void JsonLines::fail_not_json(simdjson::error_code error, std::string_view line) const {
  // Not simdjson's words for it: they differ between its versions and between CPUs.
  const bool is_too_deep = error == simdjson::DEPTH_ERROR;
  const std::string_view where = lines_.line_has_end() ? "" : " (the last line, without a line end: cut off?)";
  place().fail("",
               fmt::format("found {}{}: {}", is_too_deep ? "JSON nested too deeply" : "text that is not valid JSON",
                           where, printable(line)),
               "one JSON object a line");
}

}  // namespace reprefill::traces::detail
