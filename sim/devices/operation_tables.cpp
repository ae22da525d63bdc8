#include "sim/devices/operation_tables.hpp"

#include <algorithm>

namespace reprefill::sim {
namespace {

std::vector<double> read_numbers(const JsonValue& list, double minimum) {
  constexpr double kLargest = 1e15;
  constexpr std::size_t kMost = 4096;
  list.require_array();
  if (list.json().empty() || list.json().size() > kMost) list.fail_expected(fmt::format("1 to {} numbers", kMost));
  std::vector<double> numbers;
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    numbers.push_back(list.element(i).as_number(minimum, kLargest, ""));
  }
  return numbers;
}

std::vector<double> read_axis(const JsonValue& list) {
  std::vector<double> axis = read_numbers(list, 0);
  if (std::ranges::adjacent_find(axis, std::greater_equal<>{}) != axis.end()) list.fail_expected("ascending numbers");
  return axis;
}

/// The interval of `axis` that holds `value`, and how far into it the value lies.
struct Place {
  std::size_t below = 0, above = 0;
  double share = 0;
};

Place find(const std::vector<double>& axis, double value) {
  if (value <= axis.front()) return {};
  if (value >= axis.back()) return {axis.size() - 1, axis.size() - 1, 0};
  const auto above = static_cast<std::size_t>(std::ranges::upper_bound(axis, value) - axis.begin());
  return {above - 1, above, (value - axis[above - 1]) / (axis[above] - axis[above - 1])};
}

int read_count(const JsonValue& object, const char* key, int minimum) {
  return static_cast<int>(object.key(key).as_integer(minimum, 1 << 24, ""));
}

ModelGeometry read_shape(const JsonValue& object) {
  object.require_object().refuse_unknown_keys({"hidden", "query_heads", "kv_heads", "head_dim", "intermediate", "vocab",
                                               "mlp_matrices", "kv_element_bytes", "weight_element_bytes"});
  ModelGeometry shape;
  shape.num_layers = 1;
  shape.hidden = read_count(object, "hidden", 1);
  shape.num_query_heads = read_count(object, "query_heads", 1);
  shape.num_kv_heads = read_count(object, "kv_heads", 1);
  shape.head_dim = read_count(object, "head_dim", 1);
  shape.intermediate = read_count(object, "intermediate", 1);
  shape.vocab = read_count(object, "vocab", 1);
  shape.mlp_matrices = read_count(object, "mlp_matrices", 1);
  shape.kv_element_bytes = read_count(object, "kv_element_bytes", 1);
  shape.weight_element_bytes = read_count(object, "weight_element_bytes", 1);
  return shape;
}

DurationTable read_table(const JsonValue& model, const char* key, bool over_keys) {
  const JsonValue value = model.key(key);
  const DurationTable table(value);
  if (over_keys != value.has("keys")) value.fail(over_keys ? "keys is missing" : "keys do not matter here");
  return table;
}

ModelOperations read_model(const JsonValue& object) {
  object.require_object().refuse_unknown_keys({"model", "shape", "project", "attend", "score", "score_probe",
                                               "probe_query_heads", "first_token_ns", "begin", "attend_mask_keys",
                                               "attend_mask_values", "method"});
  ModelOperations model{.shape = read_shape(object.key("shape")),
                        .project = read_table(object, "project", false),
                        .attend = read_table(object, "attend", true),
                        .score = read_table(object, "score", true)};
  model.shape.name = object.key("model").as_string();
  if (object.has("score_probe")) {
    model.score_probe = read_table(object, "score_probe", true);
    model.probe_query_heads = read_count(object, "probe_query_heads", 1);
  }
  if (object.has("begin")) model.begin = read_table(object, "begin", false);
  if (object.has("attend_mask_keys")) model.mask_keys = read_table(object, "attend_mask_keys", true);
  if (object.has("attend_mask_values")) model.mask_values = read_table(object, "attend_mask_values", true);
  model.first_token_ns = object.key("first_token_ns").as_number(0, 1e15, "ns");
  return model;
}

}  // namespace

DurationTable::DurationTable(const JsonValue& json) {
  json.require_object().refuse_unknown_keys({"queries", "keys", "ns", "fit"});
  queries_ = read_axis(json.key("queries"));
  const JsonValue ns = json.key("ns");
  if (!json.has("keys")) {
    keys_ = {0};
    ns_ = read_numbers(ns, 0);
  } else {
    keys_ = read_axis(json.key("keys"));
    ns.require_array();
    for (std::size_t i = 0; i < ns.json().size(); ++i) {
      const std::vector<double> row = read_numbers(ns.element(i), 0);
      if (row.size() != keys_.size()) ns.element(i).fail_expected(fmt::format("{} numbers, as keys has", keys_.size()));
      ns_.insert(ns_.end(), row.begin(), row.end());
    }
  }
  if (ns_.size() != queries_.size() * keys_.size()) {
    ns.fail_expected(fmt::format("{} rows, as queries has", queries_.size()));
  }
}

DurationTable::DurationTable(std::vector<double> queries, std::vector<double> keys, std::vector<double> ns)
    : queries_(std::move(queries)), keys_(std::move(keys)), ns_(std::move(ns)) {
  REPREFILL_CHECK(!queries_.empty() && !keys_.empty() && ns_.size() == queries_.size() * keys_.size(),
                  "{} durations for {} x {} shapes", ns_.size(), queries_.size(), keys_.size());
}

double DurationTable::clamp(const std::vector<double>& axis, double value) {
  return std::clamp(value, axis.front(), axis.back());
}

TableValue DurationTable::at(double queries, double keys) const {
  const Place q = find(queries_, queries), k = find(keys_, keys);
  const auto along_keys = [&](std::size_t row) {
    return value(row, k.below) + k.share * (value(row, k.above) - value(row, k.below));
  };
  const double low = along_keys(q.below), high = along_keys(q.above);
  const bool keys_matter = keys_.size() > 1 || keys_.front() != 0;
  return {.ns = low + q.share * (high - low),
          .inside = clamp_queries(queries) == queries && (!keys_matter || clamp_keys(keys) == keys)};
}

Json DurationTable::to_json() const {
  const bool over_keys = keys_.size() > 1 || keys_.front() != 0;
  Json json = {{"queries", queries_}};
  if (!over_keys) {
    json["ns"] = ns_;
    return json;
  }
  json["keys"] = keys_;
  for (std::size_t row = 0; row < queries_.size(); ++row) {
    const auto begin = ns_.begin() + static_cast<std::ptrdiff_t>(row * keys_.size());
    json["ns"].push_back(std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(keys_.size())));
  }
  return json;
}

bool ModelOperations::fits(const ModelGeometry& geometry) const { return shape_json(shape) == shape_json(geometry); }

Json shape_json(const ModelGeometry& g) {
  return {{"hidden", g.hidden},
          {"query_heads", g.num_query_heads},
          {"kv_heads", g.num_kv_heads},
          {"head_dim", g.head_dim},
          {"intermediate", g.intermediate},
          {"vocab", g.vocab},
          {"mlp_matrices", g.mlp_matrices},
          {"kv_element_bytes", g.kv_element_bytes},
          {"weight_element_bytes", g.weight_element_bytes}};
}

std::vector<ModelOperations> read_operations(const JsonValue& list) {
  list.require_array();
  std::vector<ModelOperations> models;
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    models.push_back(read_model(list.element(i)));
    for (std::size_t before = 0; before < i; ++before) {
      if (models[before].fits(models[i].shape)) list.element(i).fail("the shape is there twice");
    }
  }
  return models;
}

}  // namespace reprefill::sim
