// Detail of the JSON readers: values of a record, with the place in errors.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include "core/base/units.hpp"
#include "traces/workload/text_source.hpp"

namespace reprefill::traces::detail {

/// A double is a whole number without doubt up to here.
inline constexpr double kMaxExactDouble = 9'007'199'254'740'992.0;

/// What an error message shows of a value: its beginning, cut between characters.
std::string excerpt(std::string text);
std::string excerpt(simdjson::dom::element value);

/// Where an error is: "file:line: " or "file: ", and what comes before a key there. `origin` must outlive it.
class Place {
 public:
  explicit Place(std::string_view origin, std::uint32_t line = 0, std::string prefix = "")
      : origin_(origin), line_(line), prefix_(std::move(prefix)) {}
  [[noreturn]] void fail(std::string_view key, std::string_view found, std::string_view expected) const;

  std::uint64_t read_whole(std::string_view key, simdjson::dom::element value, std::uint64_t minimum,
                           std::uint64_t maximum, std::string_view unit) const;
  /// Rounded to nanoseconds. From 0 to `maximum`.
  Nanoseconds read_seconds(std::string_view key, simdjson::dom::element value, double maximum) const;
  /// Any 64-bit whole numbers, into `ids`.
  void read_ids(std::string_view key, simdjson::dom::element value, std::vector<std::uint64_t>& ids) const;
  std::string_view read_text(std::string_view key, simdjson::dom::element value) const;
  simdjson::dom::array read_array(std::string_view key, simdjson::dom::element value, std::string_view of_what) const;

 private:
  std::string_view origin_;
  std::uint32_t line_;
  std::string prefix_;
};

/// The values of known keys; "absent" only for those behind the first `num_required`. Keys that other tools add are
/// ignored. Refuses missing keys and keys that are there twice, known or not.
class KnownKeys {
 public:
  KnownKeys(std::vector<std::string_view> names, std::size_t num_required)
      : names_(std::move(names)), num_required_(num_required), values_(names_.size()) {}

  void read(simdjson::dom::object object, const Place& place);
  simdjson::dom::element operator[](std::size_t key) const { return *values_[key]; }
  bool has(std::size_t key) const { return values_[key].has_value(); }
  std::string_view name(std::size_t key) const { return names_[key]; }

 private:
  std::vector<std::string_view> names_;
  std::size_t num_required_;
  std::vector<std::optional<simdjson::dom::element>> values_;
  std::vector<std::string_view> unknown_;
};

/// JSON Lines, one object a line; blank lines are skipped. simdjson's DOM: On-Demand would skip the values of unknown
/// keys without checking them, and pass garbage; the DOM checks every byte.
class JsonLines {
 public:
  JsonLines(std::unique_ptr<ByteSource> bytes, std::string origin)
      : lines_(std::move(bytes), std::move(origin), simdjson::SIMDJSON_PADDING) {}

  /// The next object, valid until the next call.
  std::optional<simdjson::dom::object> next();
  std::uint32_t line_number() const { return lines_.line_number(); }
  Place place() const { return Place(lines_.origin(), lines_.line_number()); }
  const std::string& origin() const { return lines_.origin(); }
  [[noreturn]] void fail_empty() const;

 private:
  [[noreturn]] void fail_not_json(simdjson::error_code error, std::string_view line) const;

  LineReader lines_;
  simdjson::dom::parser parser_;
};

}  // namespace reprefill::traces::detail
