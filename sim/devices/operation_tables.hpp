// Measured durations of a model's operations, as a bundle's `gpu.operations` holds them.
#pragma once

#include <optional>
#include <vector>

#include "core/model/geometry.hpp"

namespace reprefill::sim {

/// A duration at some shape, and whether the shape lies inside what was measured.
struct TableValue {
  double ns = 0;
  bool inside = true;
};

/// Durations over a grid of query counts and, where they matter, key counts. Linear in both between grid points: exact
/// for a + b q + c k + d q k, which is what attention over k keys and linear layers add up to, and monotone where the
/// grid is. Outside, the value at the nearest edge: the caller extrapolates from there.
class DurationTable {
 public:
  DurationTable() = default;
  /// Throws ConfigError for grids that are empty, not ascending or not filled. {"queries": [..], "keys": [..], "ns":
  /// [[..], ..]}, or without keys {"queries": [..], "ns": [..]}; "fit" is what the fit says of itself, not read here.
  explicit DurationTable(const JsonValue& json);
  DurationTable(std::vector<double> queries, std::vector<double> keys, std::vector<double> ns);

  TableValue at(double queries, double keys) const;
  double clamp_queries(double queries) const { return clamp(queries_, queries); }
  double clamp_keys(double keys) const { return clamp(keys_, keys); }

  const std::vector<double>& queries() const { return queries_; }
  const std::vector<double>& keys() const { return keys_; }  // one entry, 0, where keys do not matter
  double value(std::size_t query_idx, std::size_t key_idx) const { return ns_[query_idx * keys_.size() + key_idx]; }
  Json to_json() const;

 private:
  static double clamp(const std::vector<double>& axis, double value);
  void check() const;

  std::vector<double> queries_;
  std::vector<double> keys_;
  std::vector<double> ns_;  // [query][key]
};

/// One model on one device. Layers are alike, so their number does not matter.
struct ModelOperations {
  ModelGeometry shape;
  DurationTable project;                                    // queries
  DurationTable attend;                                     // queries x keys: attention, output projection, MLP
  DurationTable score;                                      // queries x keys: all query heads
  std::optional<DurationTable> score_probe = std::nullopt;  // the same with `probe_query_heads` heads on one KV head
  int probe_query_heads = 0;
  double first_token_ns = 0;
  std::optional<DurationTable> begin = std::nullopt;  // queries: what a request costs before its first layer
  // queries x tokens of the prefix: what masks add to an attention over as many tokens without any; absent in bundles
  // of schema 1.
  std::optional<DurationTable> mask_keys = std::nullopt, mask_values = std::nullopt;

  /// Whether operations of this geometry take the time of this one's.
  bool fits(const ModelGeometry& geometry) const;
};

/// A bundle's `gpu.operations`: one entry a measured model.
std::vector<ModelOperations> read_operations(const JsonValue& list);

/// The numbers of a geometry that durations depend on, as bundles write them.
Json shape_json(const ModelGeometry& geometry);

}  // namespace reprefill::sim
