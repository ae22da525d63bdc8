#include "core/base/params.hpp"

#include <cmath>

#include <fmt/ranges.h>

#include "core/base/nearest_name.hpp"

namespace reprefill {
namespace detail {
namespace {

bool is_dimensional(const ParamInfo& info) {
  return info.type == "bytes" || info.type == "ns" || info.type == "bytes_per_s" || info.type == "flops_per_s";
}

}  // namespace

std::string name_without_suffix(const ParamInfo& info) {
  const std::string suffix = "_" + info.type;
  if (!is_dimensional(info) || !info.name.ends_with(suffix)) return info.name;
  return info.name.substr(0, info.name.size() - suffix.size());
}

std::optional<double> read_dimensional(const JsonValue& object, const ParamInfo& info) {
  const std::string bare = name_without_suffix(info);
  REPREFILL_CHECK(bare != info.name, "parameter {} must end in its unit _{}", info.name, info.type);
  const bool has_number = object.has(info.name);
  const bool has_quantity = object.has(bare);
  if (has_number && has_quantity) {
    object.fail(fmt::format("both {} and {} are given; keep one", info.name, bare));
  }
  if (!has_number && !has_quantity) return std::nullopt;
  const JsonValue value = object.key(has_number ? info.name : bare);
  const bool whole = info.type == "bytes" || info.type == "ns";
  if (has_number) {
    return whole ? static_cast<double>(value.as_integer(static_cast<std::int64_t>(info.minimum),
                                                        static_cast<std::int64_t>(info.maximum), info.type))
                 : value.as_number(info.minimum, info.maximum, info.type);
  }
  const double quantity = value.as_quantity(info.type);
  if (!(quantity >= info.minimum && quantity <= info.maximum) || (whole && quantity != std::floor(quantity))) {
    value.fail_expected(fmt::format("{}from {} to {} {}", whole ? "a whole number of " + info.type + " " : "",
                                    info.minimum, info.maximum, info.type));
  }
  return quantity;
}

Budget read_budget(const JsonValue& value) {
  try {
    if (value.json().is_string()) return Budget::parse(value.as_string());
    if (value.json().is_number()) return Budget::from_double(value.json().get<double>());
  } catch (const std::invalid_argument& error) {
    value.fail(error.what());
  }
  value.fail_expected("a budget in (0, 1]: a decimal such as 0.05 or a string such as \"1/3\"");
}

int read_choice(const JsonValue& value, const std::vector<std::string>& choices) {
  const std::string found = value.as_string();
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] == found) return static_cast<int>(i);
  }
  value.fail(fmt::format("found \"{}\"{}", found, nearest_and_allowed(found, choices)));
}

std::optional<int> read_choice_or_count(const JsonValue& value, const ParamInfo& info, std::uint32_t& count) {
  const double limit = std::min(info.maximum, static_cast<double>(std::numeric_limits<std::uint32_t>::max()));
  if (value.json().is_number()) {
    count = static_cast<std::uint32_t>(
        value.as_integer(static_cast<std::int64_t>(info.minimum), static_cast<std::int64_t>(limit), info.unit));
    return std::nullopt;
  }
  for (std::size_t i = 0; i < info.choices.size(); ++i) {
    if (value.json() == info.choices[i]) return static_cast<int>(i);
  }
  value.fail_expected(fmt::format("\"{}\" or a whole number from {} to {}{}{}", fmt::join(info.choices, "\", \""),
                                  info.minimum, limit, info.unit.empty() ? "" : " ", info.unit));
}

}  // namespace detail

void add_to_schema(Json& properties, const ParamInfo& info) {
  Json schema = Json::object();
  if (!info.doc.empty()) schema["description"] = info.doc;
  const auto bounded = [&](const char* type) {
    schema["type"] = type;
    schema["minimum"] = info.minimum;
    schema["maximum"] = info.maximum;
  };
  if (info.type == "integer" || info.type == "bytes" || info.type == "ns") {
    bounded("integer");
  } else if (info.type == "number" || info.type == "bytes_per_s" || info.type == "flops_per_s") {
    bounded("number");
  } else if (info.type == "choice") {
    schema["enum"] = info.choices;
  } else if (info.type == "choice_or_integer") {
    schema["oneOf"] = Json::array(
        {{{"enum", info.choices}}, {{"type", "integer"}, {"minimum", info.minimum}, {"maximum", info.maximum}}});
  } else if (info.type == "budget") {
    schema["oneOf"] = Json::array({{{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1}},
                                   {{"type", "string"}, {"pattern", "^[0-9]+(/[0-9]+|[.][0-9]+)?$"}}});
  } else if (info.type == "integer_list") {
    schema["type"] = "array";
    schema["items"] = {{"type", "integer"}};
  } else {
    schema["type"] = info.type;
  }
  if (info.nullable && schema.contains("type")) schema["type"] = Json::array({schema["type"], "null"});
  if (info.nullable && schema.contains("enum")) schema["enum"].push_back(nullptr);
  if (info.nullable && schema.contains("oneOf")) schema["oneOf"].push_back({{"type", "null"}});
  if (const std::string bare = detail::name_without_suffix(info); bare != info.name) {
    properties[bare] = {{"type", "string"}, {"description", info.doc + " (with a unit)"}};
  }
  properties[info.name] = std::move(schema);
}

}  // namespace reprefill
