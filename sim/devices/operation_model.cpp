#include "sim/devices/operation_model.hpp"

#include <algorithm>
#include <cmath>

namespace reprefill::sim {
OperationModel::OperationModel(const GpuProfile& gpu, const ModelGeometry& geometry)
    : gpu_(gpu), costs_(geometry), geometry_(geometry) {
  for (const ModelOperations& model : *gpu_.operations) {
    if (model.fits(geometry)) table_ = &model;
  }
}

Nanoseconds OperationModel::roofline(const OperationCost& cost, double efficiency) const {
  const double compute = cost.flops / (gpu_.peak_rate.value * efficiency);
  const double memory =
      static_cast<double>(cost.bytes_moved.value) / (gpu_.memory_bandwidth.value * gpu_.memory_efficiency);
  return nanoseconds_from_seconds(std::max(compute, memory));
}

Nanoseconds OperationModel::project_roofline(std::uint64_t queries) const { return gemm(costs_->project(queries)); }

Nanoseconds OperationModel::score_roofline(std::uint64_t queries, std::uint64_t keys, int query_heads,
                                           int kv_heads) const {
  return attention(costs_->score(queries, keys, query_heads, kv_heads));
}

Nanoseconds OperationModel::attend_roofline(std::uint64_t queries, std::uint64_t own_before, std::uint64_t k_tokens,
                                            std::uint64_t v_tokens) const {
  return gemm(costs_->attend_linear(queries)) +
         attention(costs_->attend_attention(queries, own_before, k_tokens, v_tokens));
}

Nanoseconds OperationModel::measured(const TableValue& value, Nanoseconds wanted, Nanoseconds at_edge) {
  double ns = value.ns;
  if (!value.inside) {
    ++num_extrapolated_;
    ns *= static_cast<double>(wanted.value) / static_cast<double>(std::max<std::int64_t>(1, at_edge.value));
  }
  return overhead() + Nanoseconds{static_cast<std::int64_t>(std::ceil(ns))};
}

Nanoseconds OperationModel::project(std::uint64_t queries) {
  ++num_queries_;
  const Nanoseconds wanted = project_roofline(queries);
  if (table_ == nullptr) return overhead() + wanted;
  const auto asked = static_cast<double>(queries);
  const auto edge = static_cast<std::uint64_t>(table_->project.clamp_queries(asked));
  return measured(table_->project.at(asked, 0), wanted, project_roofline(edge));
}

Nanoseconds OperationModel::begin(std::uint64_t queries) const {
  if (table_ == nullptr || !table_->begin) return Nanoseconds{0};
  return Nanoseconds{std::llround(table_->begin->at(static_cast<double>(queries), 0).ns)};
}

Nanoseconds OperationModel::score(std::uint64_t queries, std::uint64_t prefix_tokens, int query_heads, int kv_heads) {
  ++num_queries_;
  const Nanoseconds wanted = score_roofline(queries, prefix_tokens, query_heads, kv_heads);
  if (table_ == nullptr) return overhead() + wanted;
  // Probes were measured with some number of heads; another one is extrapolated by the roofline, from the nearer of
  // both.
  const bool all_heads = query_heads == geometry_.num_query_heads;
  const bool probe = !all_heads && table_->score_probe.has_value();
  const DurationTable& table = probe ? *table_->score_probe : table_->score;
  const int table_heads = probe ? table_->probe_query_heads : geometry_.num_query_heads;
  const int table_kv_heads = probe ? 1 : geometry_.num_kv_heads;
  const auto asked_queries = static_cast<double>(queries), asked_keys = static_cast<double>(prefix_tokens);
  TableValue value = table.at(asked_queries, asked_keys);
  value.inside = value.inside && query_heads == table_heads && kv_heads == table_kv_heads;
  const Nanoseconds at_edge =
      score_roofline(static_cast<std::uint64_t>(table.clamp_queries(asked_queries)),
                     static_cast<std::uint64_t>(table.clamp_keys(asked_keys)), table_heads, table_kv_heads);
  return measured(value, wanted, at_edge);
}

TableValue OperationModel::mask_cost(const AttendShape& shape) const {
  const bool on_keys = shape.walk.mask == pipeline::AttentionMask::keys;
  const std::optional<DurationTable>& table = on_keys ? table_->mask_keys : table_->mask_values;
  // Bundles from before masks were measured have none.
  if (shape.walk.mask == pipeline::AttentionMask::none || !table) return {.ns = 0, .inside = true};
  const auto queries = static_cast<double>(shape.queries), tokens = static_cast<double>(shape.walk.num_tokens);
  TableValue cost = table->at(queries, tokens);
  // Masks are looked up tile by tile: beyond the grid, by the number of tiles. A block of few queries is one all the
  // same.
  if (!cost.inside) {
    cost.ns *= std::max(1.0, queries / table->clamp_queries(queries)) * tokens / table->clamp_keys(tokens);
  }
  return cost;
}

Nanoseconds OperationModel::attend(const AttendShape& shape) {
  ++num_queries_;
  if (table_ == nullptr) {
    return overhead() + attend_roofline(shape.queries, shape.own_before, shape.k_tokens, shape.v_tokens);
  }
  const std::uint64_t tokens = shape.walk.num_tokens;
  const auto queries = static_cast<double>(shape.queries), keys = static_cast<double>(shape.own_before + tokens);
  const TableValue value = table_->attend.at(queries, keys);
  const auto edge_queries = static_cast<std::uint64_t>(table_->attend.clamp_queries(queries));
  const auto edge_keys = static_cast<std::uint64_t>(table_->attend.clamp_keys(keys));
  const Nanoseconds plain = measured(value, attend_roofline(shape.queries, shape.own_before, tokens, tokens),
                                     attend_roofline(edge_queries, 0, edge_keys, edge_keys));
  const TableValue mask = mask_cost(shape);
  if (value.inside && !mask.inside) ++num_extrapolated_;
  return plain + Nanoseconds{static_cast<std::int64_t>(std::ceil(mask.ns))};
}

Nanoseconds OperationModel::first_token() {
  ++num_queries_;
  if (table_ == nullptr) return overhead() + gemm(costs_->first_token());
  return overhead() + Nanoseconds{static_cast<std::int64_t>(std::ceil(table_->first_token_ns))};
}

}  // namespace reprefill::sim
