// Checked reading of JSON configuration: every error names the file, the key's path, what was found and what is
// allowed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/base/error.hpp"

namespace reprefill {

using Json = nlohmann::ordered_json;

/// Parses a configuration text. Refuses duplicate keys, nesting deeper than 64 and trailing garbage.
/// Throws ConfigError naming `origin`, and the line and column where the text is not JSON.
Json parse_json(std::string_view text, std::string_view origin);
/// The same for a file; a missing or unreadable one is a ConfigError too.
Json read_json_file(const std::filesystem::path& path);

/// A value inside a configuration file, with the way to it, so that errors can name the place.
class JsonValue {
 public:
  JsonValue(const Json& value, std::string origin, std::string path = "")
      : value_(&value), origin_(std::move(origin)), path_(std::move(path)) {}

  const Json& json() const { return *value_; }
  const std::string& origin() const { return origin_; }
  const std::string& path() const { return path_; }

  /// "scenario.json: workload.suffix_tokens: found "x"; expected a whole number of tokens".
  [[noreturn]] void fail(std::string_view message) const;
  [[noreturn]] void fail_expected(std::string_view expected) const;

  /// Fails where the key is missing.
  JsonValue key(const std::string& name) const;
  JsonValue element(std::size_t index) const;
  bool has(const std::string& name) const { return value_->is_object() && value_->contains(name); }
  const JsonValue& require_object() const;
  const JsonValue& require_array() const;
  /// Refuses keys that are not in `allowed`, with the nearest known name.
  void refuse_unknown_keys(const std::vector<std::string>& allowed) const;

  std::string as_string() const;
  bool as_bool() const;
  double as_number(double minimum, double maximum, std::string_view unit) const;
  /// A whole number; 1e10 is one, 1.5 is not.
  std::int64_t as_integer(std::int64_t minimum, std::int64_t maximum, std::string_view unit) const;
  /// A string with a unit, such as "10 GB", "4 MiB", "7.45 GB/s", "130 us" or "312 TFLOP/s", in the base unit of
  /// `dimension` ("bytes", "ns", "bytes_per_s", "flops_per_s").
  double as_quantity(std::string_view dimension) const;

 private:
  const Json* value_;
  std::string origin_;
  std::string path_;
};

}  // namespace reprefill
