// How long an operation takes on an idle GPU. A roofline over its FLOPs and bytes (datasheet profiles); where the
// bundle holds measured durations of the model, those, and beyond their grid the duration at its nearest edge times
// what the roofline grows by from there.
#pragma once

#include <cmath>
#include <vector>

#include "core/model/costs.hpp"
#include "core/pipeline/attention_walk.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::sim {

/// One block of own tokens: FLOPs are those of kept tokens, kernels go through the walk.
struct AttendShape {
  std::uint64_t queries = 0;
  std::uint64_t own_before = 0;  // own tokens before the block
  std::uint64_t k_tokens = 0, v_tokens = 0;
  pipeline::AttentionWalk walk = {};
};

class OperationModel {
 public:
  /// Rooflines only.
  explicit OperationModel(const GpuProfile& gpu) : gpu_(gpu) {}
  /// With the profile's measured durations of this geometry, if it has any.
  OperationModel(const GpuProfile& gpu, const ModelGeometry& geometry);

  /// Full durations: the operation_overhead of the profile, and the roofline's or the table's time.
  Nanoseconds project(std::uint64_t queries);
  /// What a request of so many own tokens costs before its first layer; nothing where it was not measured.
  Nanoseconds begin(std::uint64_t queries) const;
  Nanoseconds score(std::uint64_t queries, std::uint64_t prefix_tokens, int query_heads, int kv_heads);
  /// A roofline charges what the view keeps; measured durations are of what the kernels go through.
  Nanoseconds attend(const AttendShape& shape);
  Nanoseconds first_token();

  /// By FLOPs and bytes alone, without overhead.
  Nanoseconds gemm(const OperationCost& cost) const { return roofline(cost, gpu_.gemm_efficiency); }
  Nanoseconds attention(const OperationCost& cost) const { return roofline(cost, gpu_.attention_efficiency); }
  Nanoseconds overhead() const { return gpu_.operation_overhead; }
  Nanoseconds select(std::uint64_t num_scores, pipeline::SelectionMode mode) const {
    const bool votes = mode == pipeline::SelectionMode::probe_vote && gpu_.select_per_vote_ns > 0;
    const double each = votes ? gpu_.select_per_vote_ns : gpu_.select_per_score_ns;
    const double scores = each * static_cast<double>(num_scores);
    return gpu_.select_overhead + Nanoseconds{static_cast<std::int64_t>(scores)};
  }

  bool is_measured() const { return table_ != nullptr; }
  /// Operations asked for, and of them those whose shape lies outside what was measured.
  std::uint64_t num_queries() const { return num_queries_; }
  std::uint64_t num_extrapolated() const { return num_extrapolated_; }

 private:
  Nanoseconds roofline(const OperationCost& cost, double efficiency) const;
  Nanoseconds project_roofline(std::uint64_t queries) const;
  Nanoseconds score_roofline(std::uint64_t queries, std::uint64_t keys, int query_heads, int kv_heads) const;
  Nanoseconds attend_roofline(std::uint64_t queries, std::uint64_t own_before, std::uint64_t k_tokens,
                              std::uint64_t v_tokens) const;
  /// What a mask adds to an attention over as many tokens.
  TableValue mask_cost(const AttendShape& shape) const;
  /// A table's duration at a shape; `wanted` and `at_edge` are rooflines at the shape and at the table's nearest.
  Nanoseconds measured(const TableValue& value, Nanoseconds wanted, Nanoseconds at_edge);

  GpuProfile gpu_;
  std::optional<OperationCosts> costs_;
  const ModelOperations* table_ = nullptr;  // in gpu_
  ModelGeometry geometry_;
  std::uint64_t num_queries_ = 0;
  std::uint64_t num_extrapolated_ = 0;
};

}  // namespace reprefill::sim
