// From scores to indices: the one contract that core, the CPU and the GPU implement alike (design 4).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/params.hpp"
#include "core/base/units.hpp"

namespace reprefill::pipeline {

/// Scores as selection and caches consume them: [num_groups][num_units] fp32, non-negative.
struct Scores {
  std::vector<float> values;
  int num_groups = 1;
  std::size_t num_units = 0;

  std::span<const float> group(int index) const {
    return std::span(values).subspan(static_cast<std::size_t>(index) * num_units, num_units);
  }
};

enum class SelectionMode : std::uint8_t {
  top_k_of_sum,     // one group: the k highest
  top_k_per_group,  // each group chooses its own k
  probe_vote        // IMPRESS: each probe head's top k, similarity test, then one voted set for all heads
};
enum class Vote : std::uint8_t { top_k, majority, union_ };

struct SelectionRule {
  SelectionMode mode = SelectionMode::top_k_of_sum;
  std::uint64_t k = 0;
  Vote vote = Vote::top_k;
  double similarity_threshold = 0;  // probe_vote: below it the layer loads everything
  Nanoseconds host_time{0};         // what the host does with the choice before anything is read; charged, not slept
};

/// What was chosen: ascending unit indices, one list for all heads or one per group.
struct Selection {
  std::vector<std::vector<std::uint32_t>> groups;
  bool is_everything = false;  // probe_vote fell back to the full layer
  double similarity = 1;       // probe_vote: mean pairwise Jaccard index

  const std::vector<std::uint32_t>& shared() const { return groups.front(); }
};

/// The k units with the highest scores, ascending by index; ties go to the lower index. k is capped at the number of
/// units. Throws InvariantError on NaN.
std::vector<std::uint32_t> top_k(std::span<const float> scores, std::uint64_t k);

Selection select_units(const Scores& scores, const SelectionRule& rule);

/// |a and b| / |a or b| of two ascending lists; 1 for two empty ones.
double jaccard_index(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::Vote> {
  static constexpr std::pair<const char*, pipeline::Vote> names[] = {
      {"top_k", pipeline::Vote::top_k}, {"majority", pipeline::Vote::majority}, {"union", pipeline::Vote::union_}};
};
