// How a component declares its parameters: once, beside the struct that holds them. From the declaration come checked
// reading, the resolved configuration, the listing of `reprefill systems`, and the JSON Schema.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "core/base/budget.hpp"
#include "core/base/json.hpp"
#include "core/base/units.hpp"

namespace reprefill {

/// What a reader of the documentation needs to know about one parameter.
struct ParamInfo {
  std::string name;
  std::string doc;
  std::string source;  // paper section, datasheet, or the assumption's id
  std::string unit = "";
  double minimum = 0;
  double maximum = 9.0e15;
  std::string type = "";  // filled by the table: integer, number, boolean, string, choice, budget, bytes, ns, ...
  std::vector<std::string> choices = {};
  bool required = false;
  bool nullable = false;  // filled by the table: null stands for "none"
};

/// Specialise for an enum to let it be a parameter: `static constexpr std::pair<const char*, E> names[] = {...}`.
template <typename Enum>
struct EnumNames;

template <typename Enum>
std::string enum_name(Enum value) {
  for (const auto& [name, candidate] : EnumNames<Enum>::names) {
    if (candidate == value) return name;
  }
  REPREFILL_CHECK(false, "an enum value {} without a name", static_cast<int>(value));
  return {};
}

/// A parameter that is one of an enum's names, or a whole number in the parameter's range.
template <typename Enum>
struct ChoiceOrCount {
  Enum choice{};  // counts where there is no number
  std::optional<std::uint32_t> count = std::nullopt;
};

namespace detail {

template <typename T>
struct IsChoiceOrCount : std::false_type {};
template <typename Enum>
struct IsChoiceOrCount<ChoiceOrCount<Enum>> : std::true_type {
  using Choice = Enum;
};

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

/// "bytes" for Bytes and so on; "" for what has no dimension. A dimensional key ends in this suffix and takes a number;
/// without it the key takes a string with a unit.
template <typename T>
constexpr std::string_view dimension_of() {
  if constexpr (std::is_same_v<T, Bytes>) return "bytes";
  if constexpr (std::is_same_v<T, Nanoseconds>) return "ns";
  if constexpr (std::is_same_v<T, BytesPerSecond>) return "bytes_per_s";
  if constexpr (std::is_same_v<T, FlopsPerSecond>) return "flops_per_s";
  return "";
}

/// Resolves which of `name_bytes: 1e9` and `name: "1 GB"` is there, and reads it in the base unit.
std::optional<double> read_dimensional(const JsonValue& object, const ParamInfo& info);
std::string name_without_suffix(const ParamInfo& info);

Budget read_budget(const JsonValue& value);
int read_choice(const JsonValue& value, const std::vector<std::string>& choices);
/// The position of a name in `info.choices`, or nullopt and the number in `count`.
std::optional<int> read_choice_or_count(const JsonValue& value, const ParamInfo& info, std::uint32_t& count);

template <typename T>
void fill_type(ParamInfo& info) {
  if constexpr (IsOptional<T>::value) {
    fill_type<typename T::value_type>(info);
    info.nullable = true;
  } else if constexpr (!dimension_of<T>().empty()) {
    info.type = dimension_of<T>();
  } else if constexpr (std::is_same_v<T, Budget>) {
    info.type = "budget";
  } else if constexpr (std::is_same_v<T, bool>) {
    info.type = "boolean";
  } else if constexpr (std::is_enum_v<T>) {
    info.type = "choice";
    for (const auto& [name, value] : EnumNames<T>::names) info.choices.emplace_back(name);
  } else if constexpr (IsChoiceOrCount<T>::value) {
    info.type = "choice_or_integer";
    for (const auto& [name, value] : EnumNames<typename IsChoiceOrCount<T>::Choice>::names)
      info.choices.emplace_back(name);
  } else if constexpr (std::is_integral_v<T>) {
    info.type = "integer";
  } else if constexpr (std::is_floating_point_v<T>) {
    info.type = "number";
  } else if constexpr (std::is_same_v<T, std::vector<int>>) {
    info.type = "integer_list";
  } else {
    static_assert(std::is_same_v<T, std::string>);
    info.type = info.choices.empty() ? "string" : "choice";
  }
}

template <typename T>
T read_plain(const JsonValue& value, const ParamInfo& info) {
  if constexpr (std::is_same_v<T, Budget>) {
    return read_budget(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value.as_bool();
  } else if constexpr (std::is_enum_v<T>) {
    return EnumNames<T>::names[static_cast<std::size_t>(read_choice(value, info.choices))].second;
  } else if constexpr (IsChoiceOrCount<T>::value) {
    T result;
    std::uint32_t count = 0;
    if (const std::optional<int> choice = read_choice_or_count(value, info, count)) {
      result.choice = EnumNames<typename IsChoiceOrCount<T>::Choice>::names[static_cast<std::size_t>(*choice)].second;
    } else {
      result.count = count;
    }
    return result;
  } else if constexpr (std::is_integral_v<T>) {
    const double limit = std::min(info.maximum, static_cast<double>(std::numeric_limits<T>::max()));
    const auto maximum = limit >= 9.0e15 ? std::int64_t{9'000'000'000'000'000} : static_cast<std::int64_t>(limit);
    return static_cast<T>(value.as_integer(static_cast<std::int64_t>(info.minimum), maximum, info.unit));
  } else if constexpr (std::is_floating_point_v<T>) {
    return value.as_number(info.minimum, info.maximum, info.unit);
  } else if constexpr (std::is_same_v<T, std::vector<int>>) {
    T list;
    value.require_array();
    const double limit = std::min(info.maximum, static_cast<double>(std::numeric_limits<int>::max()));
    for (std::size_t i = 0; i < value.json().size(); ++i) {
      list.push_back(static_cast<int>(value.element(i).as_integer(static_cast<std::int64_t>(info.minimum),
                                                                  static_cast<std::int64_t>(limit), info.unit)));
    }
    return list;
  } else if (!info.choices.empty()) {
    return info.choices[static_cast<std::size_t>(read_choice(value, info.choices))];
  } else {
    return value.as_string();
  }
}

template <typename T>
Json write_plain(const T& value) {
  if constexpr (IsOptional<T>::value) {
    return value ? write_plain(*value) : Json(nullptr);
  } else if constexpr (!dimension_of<T>().empty()) {
    return value.value;
  } else if constexpr (std::is_same_v<T, Budget>) {
    return value.to_string();
  } else if constexpr (std::is_enum_v<T>) {
    return enum_name(value);
  } else if constexpr (IsChoiceOrCount<T>::value) {
    return value.count ? Json(*value.count) : Json(enum_name(value.choice));
  } else {
    return value;
  }
}

/// Reads one parameter into `target` if the object has it; says whether it had.
template <typename T>
bool read_param(const JsonValue& object, const ParamInfo& info, T& target) {
  if constexpr (IsOptional<T>::value) {
    if (object.has(info.name) && object.json().at(info.name).is_null()) {
      target.reset();
      return true;
    }
    typename T::value_type value{};
    const bool found = read_param(object, info, value);
    if (found) target = std::move(value);
    return found;
  } else if constexpr (!dimension_of<T>().empty()) {
    const std::optional<double> number = read_dimensional(object, info);
    if (!number) return false;
    if constexpr (std::is_same_v<T, Bytes> || std::is_same_v<T, Nanoseconds>) {
      target = T{static_cast<decltype(T{}.value)>(*number)};
    } else {
      target = T{*number};
    }
    return true;
  } else {
    if (!object.has(info.name)) return false;
    target = read_plain<T>(object.key(info.name), info);
    return true;
  }
}

}  // namespace detail

/// The parameters of one component, bound to the struct that holds them. Defaults are those of the struct that is
/// handed to `read`, so a component may have different ones for each software path.
template <typename Params>
class ParamTable {
 public:
  /// `member` may belong to a base of Params, so that components share declarations.
  template <typename T, typename Holder>
  requires std::is_base_of_v<Holder, Params> ParamTable& add(T Holder::*member, ParamInfo info) {
    detail::fill_type<T>(info);
    fields_.push_back(
        Field{.info = info,
              .read = [member, info](const JsonValue& object,
                                     Params& params) { return detail::read_param(object, info, params.*member); },
              .write = [member](const Params& params) { return detail::write_plain(params.*member); }});
    return *this;
  }

  /// A group of parameters under one key, such as kv_layout {order, kv, block_tokens}.
  template <typename T, typename Holder>
  requires std::is_base_of_v<Holder, Params> ParamTable& add_group(std::string name, T Holder::*member,
                                                                   const ParamTable<T>& group) {
    for (const ParamInfo& info : group.infos()) nested_infos_.push_back({name, info});
    fields_.push_back(Field{.info = ParamInfo{.name = name, .doc = "", .source = "", .type = "object"},
                            .read =
                                [member, name, group](const JsonValue& object, Params& params) {
                                  if (!object.has(name)) return false;
                                  group.read(object.key(name), params.*member);
                                  return true;
                                },
                            .write = [member, group](const Params& params) { return group.write(params.*member); }});
    return *this;
  }

  /// Overwrites in `params` what `object` names. Unknown keys are refused unless the caller lists them in
  /// `also_allowed`.
  void read(const JsonValue& object, Params& params, const std::vector<std::string>& also_allowed = {}) const {
    object.require_object();
    std::vector<std::string> allowed = also_allowed;
    for (const std::string& name : names()) allowed.push_back(name);
    object.refuse_unknown_keys(allowed);
    for (const Field& field : fields_) {
      if (!field.read(object, params) && field.info.required) {
        object.fail(fmt::format("{} is missing: {}", field.info.name, field.info.doc));
      }
    }
  }

  Json write(const Params& params) const {
    Json object = Json::object();
    for (const Field& field : fields_) object[field.info.name] = field.write(params);
    return object;
  }

  /// Every accepted key: "gpu_cache_bytes" and its unit-taking form "gpu_cache".
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const Field& field : fields_) {
      result.push_back(field.info.name);
      if (const std::string bare = detail::name_without_suffix(field.info); bare != field.info.name) {
        result.push_back(bare);
      }
    }
    return result;
  }

  std::vector<ParamInfo> infos() const {
    std::vector<ParamInfo> result;
    for (const Field& field : fields_) {
      if (field.info.type != "object") {
        result.push_back(field.info);
        continue;
      }
      for (const auto& [group, info] : nested_infos_) {
        if (group != field.info.name) continue;
        ParamInfo nested = info;
        nested.name = group + "." + info.name;
        result.push_back(std::move(nested));
      }
    }
    return result;
  }

 private:
  struct Field {
    ParamInfo info;
    std::function<bool(const JsonValue&, Params&)> read;
    std::function<Json(const Params&)> write;
  };
  struct NestedInfo {
    std::string group;
    ParamInfo info;
  };
  std::vector<Field> fields_;
  std::vector<NestedInfo> nested_infos_;
};

/// JSON Schema (2020-12) of one declared parameter, under each of its accepted keys.
void add_to_schema(Json& properties, const ParamInfo& info);

}  // namespace reprefill
