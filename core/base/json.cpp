#include "core/base/json.hpp"
#include "core/base/files.hpp"

#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "core/base/nearest_name.hpp"

namespace reprefill {
namespace {

constexpr int kMaxDepth = 64;

/// Watches the parser for what nlohmann/json itself lets pass: duplicate keys (the last would win) and deep nesting.
class StrictnessWatch {
 public:
  explicit StrictnessWatch(std::string_view origin) : origin_(origin) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    // The parser gives the number of containers around; a container that starts is one level itself.
    const bool starts = event == Event::object_start || event == Event::array_start;
    if (depth + (starts ? 1 : 0) > kMaxDepth)
      throw ConfigError(fmt::format("{}: nested deeper than {} levels", origin_, kMaxDepth));
    if (starts) levels_.push_back({.is_list = event == Event::array_start});
    if (event == Event::key) enter_key(parsed.get<std::string>());
    if (event == Event::object_end || event == Event::array_end) levels_.pop_back();
    const bool ends_value = event == Event::value || event == Event::object_end || event == Event::array_end;
    if (ends_value && !levels_.empty()) ++levels_.back().num_values;
    return true;
  }

 private:
  /// One container around the place that is being parsed.
  struct Level {
    bool is_list = false;
    std::size_t num_values = 0;  // parsed before: of a list, the index of the next
    std::string key = {};        // of an object, the last one
    std::set<std::string> keys = {};
  };

  void enter_key(std::string key) {
    Level& level = levels_.back();
    level.key = std::move(key);
    if (!level.keys.insert(level.key).second) {
      throw ConfigError(fmt::format("{}: {}: key appears twice in one object", origin_, path()));
    }
  }

  /// As JsonValue writes it: "systems[1].params.budget".
  std::string path() const {
    std::string path;
    for (const Level& level : levels_) {
      if (level.is_list) {
        path += fmt::format("[{}]", level.num_values);
      } else {
        path += (path.empty() ? "" : ".") + level.key;
      }
    }
    return path;
  }

  std::string_view origin_;
  std::vector<Level> levels_;
};

std::string abbreviated(const Json& value) {
  std::string text = value.dump();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

struct Unit {
  std::string_view name;
  std::string_view dimension;
  double factor;
};

constexpr Unit kUnits[] = {
    {"B", "bytes", 1},
    {"kB", "bytes", 1e3},
    {"KB", "bytes", 1e3},
    {"MB", "bytes", 1e6},
    {"GB", "bytes", 1e9},
    {"TB", "bytes", 1e12},
    {"KiB", "bytes", 1024.0},
    {"MiB", "bytes", 1024.0 * 1024},
    {"GiB", "bytes", 1024.0 * 1024 * 1024},
    {"TiB", "bytes", 1024.0 * 1024 * 1024 * 1024},
    {"ns", "ns", 1},
    {"us", "ns", 1e3},
    {"ms", "ns", 1e6},
    {"s", "ns", 1e9},
    {"min", "ns", 60e9},
    {"B/s", "bytes_per_s", 1},
    {"kB/s", "bytes_per_s", 1e3},
    {"MB/s", "bytes_per_s", 1e6},
    {"GB/s", "bytes_per_s", 1e9},
    {"TB/s", "bytes_per_s", 1e12},
    {"MiB/s", "bytes_per_s", 1024.0 * 1024},
    {"GiB/s", "bytes_per_s", 1024.0 * 1024 * 1024},
    {"GFLOP/s", "flops_per_s", 1e9},
    {"TFLOP/s", "flops_per_s", 1e12},
    {"PFLOP/s", "flops_per_s", 1e15},
};

/// "1.001 us" is 1001 ns, not the 1000.9999999999999 that the product of the nearest doubles gives.
double without_noise(double quantity) {
  const double whole = std::round(quantity);
  return std::abs(quantity - whole) <= 4e-16 * std::abs(whole) ? whole : quantity;
}

std::string units_of(std::string_view dimension) {
  std::string list;
  for (const Unit& unit : kUnits) {
    if (unit.dimension == dimension) list += (list.empty() ? "" : ", ") + std::string(unit.name);
  }
  return list;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view origin) {
  try {
    return Json::parse(text.begin(), text.end(), StrictnessWatch(origin));
  } catch (const Json::exception& error) {
    // nlohmann's text names line and column after its own prefix "[json.exception.parse_error.101] ". A number that
    // overflows is an out_of_range.
    const std::string_view what = error.what();
    const auto prefix_end = what.find("] ");
    throw ConfigError(
        fmt::format("{}: {}", origin, prefix_end == std::string_view::npos ? what : what.substr(prefix_end + 2)));
  }
}

Json read_json_file(const std::filesystem::path& path) {
  if (folder_exists(path)) {
    throw ConfigError(fmt::format("{}: is a folder; expected a JSON file", path.string()));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ConfigError(fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return parse_json(text, path.string());
}

void JsonValue::fail(std::string_view message) const {
  throw ConfigError(path_.empty() ? fmt::format("{}: {}", origin_, message)
                                  : fmt::format("{}: {}: {}", origin_, path_, message));
}

void JsonValue::fail_expected(std::string_view expected) const {
  fail(fmt::format("found {}; expected {}", abbreviated(*value_), expected));
}

JsonValue JsonValue::key(const std::string& name) const {
  if (!has(name)) fail(name + " is missing");
  return JsonValue(value_->at(name), origin_, path_.empty() ? name : path_ + "." + name);
}

JsonValue JsonValue::element(std::size_t index) const {
  return JsonValue(value_->at(index), origin_, fmt::format("{}[{}]", path_, index));
}

const JsonValue& JsonValue::require_object() const {
  if (!value_->is_object()) fail_expected("an object {...}");
  return *this;
}

const JsonValue& JsonValue::require_array() const {
  if (!value_->is_array()) fail_expected("a list [...]");
  return *this;
}

void JsonValue::refuse_unknown_keys(const std::vector<std::string>& allowed) const {
  for (const auto& [name, value] : value_->items()) {
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      key(name).fail("unknown key" + nearest_and_allowed(name, allowed));
    }
  }
}

std::string JsonValue::as_string() const {
  if (!value_->is_string()) fail_expected("a string");
  return value_->get<std::string>();
}

bool JsonValue::as_bool() const {
  if (!value_->is_boolean()) fail_expected("true or false");
  return value_->get<bool>();
}

double JsonValue::as_number(double minimum, double maximum, std::string_view unit) const {
  if (!value_->is_number()) fail_expected(fmt::format("a number{}{}", unit.empty() ? "" : " of ", unit));
  const double number = value_->get<double>();
  if (!(number >= minimum && number <= maximum)) {
    fail_expected(fmt::format("a number from {} to {}{}{}", minimum, maximum, unit.empty() ? "" : " ", unit));
  }
  return number;
}

std::int64_t JsonValue::as_integer(std::int64_t minimum, std::int64_t maximum, std::string_view unit) const {
  const std::string wanted =
      fmt::format("a whole number from {} to {}{}{}", minimum, maximum, unit.empty() ? "" : " ", unit);
  if (!value_->is_number()) fail_expected(wanted);
  if (value_->is_number_float()) {
    const double number = value_->get<double>();
    if (!(std::abs(number) < 9.0e15) || number != std::floor(number)) fail_expected(wanted);
    const auto integer = static_cast<std::int64_t>(number);
    if (integer < minimum || integer > maximum) fail_expected(wanted);
    return integer;
  }
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    fail_expected(wanted);
  }
  const auto integer = value_->get<std::int64_t>();
  if (integer < minimum || integer > maximum) fail_expected(wanted);
  return integer;
}

double JsonValue::as_quantity(std::string_view dimension) const {
  const std::string wanted =
      fmt::format("a number with a unit such as \"10 {}\" (units: {})",
                  units_of(dimension).substr(0, units_of(dimension).find(',')), units_of(dimension));
  if (!value_->is_string()) fail_expected(wanted);
  const std::string text = value_->get<std::string>();
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !std::isfinite(number)) fail_expected(wanted);
  std::string_view unit_name(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (unit_name.starts_with(' ')) unit_name.remove_prefix(1);
  for (const Unit& unit : kUnits) {
    if (unit.name == unit_name && unit.dimension == dimension) return without_noise(number * unit.factor);
  }
  fail_expected(wanted);
}

}  // namespace reprefill
