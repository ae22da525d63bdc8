// The k highest of each group of scores, on the device: the selection contract of core/pipeline/selection.hpp.
#pragma once

#include <cstdint>

#include "kernels/base/stream.hpp"

namespace reprefill::kernels {

/// How many units each group has and how many of them are chosen.
struct SelectCounts {
  std::uint32_t num_units = 0;
  std::uint32_t k = 0;
};

/// Bits of SelectChunks::errors.
inline constexpr std::uint32_t kScoreIsNan = 1;
inline constexpr std::uint32_t kScoreIsNegative = 2;

/// All pointers are device memory (indices, num_chosen and errors may also be pinned host memory).
struct SelectChunks {
  const float* scores = nullptr;  // [num_groups][max_units]
  std::uint32_t num_groups = 1;
  std::uint32_t max_units = 0;                  // distance between groups of scores
  std::uint32_t max_k = 0;                      // distance between groups of indices
  SelectCounts counts;                          // at most max_units and max_k
  const SelectCounts* device_counts = nullptr;  // read when the kernel runs, in place of `counts` (captured graphs)
  std::uint32_t* indices = nullptr;     // [num_groups][max_k], ascending; entries beyond num_chosen are not written
  std::uint32_t* num_chosen = nullptr;  // [num_groups]: min(k, num_units, max_k), or 0 where errors is not 0
  std::uint32_t* errors = nullptr;      // [num_groups]: 0, or the flags above
};

/// Chooses, in each group, the min(k, num_units) highest scores; ties go to the lower index. Scores are non-negative,
/// minus zero counts as zero; NaN and negative scores are reported, and that group chooses nothing. Deterministic.
/// Asynchronous on `stream`; one launch, no workspace. Throws ShapeError (null pointers, counts over the capacities),
/// CudaError (launch refused).
/// Reference: select_chunks_reference.
void launch_select_chunks(const SelectChunks& arguments, cudaStream_t stream);

/// The same on host pointers: sorts.
void select_chunks_reference(const SelectChunks& arguments);

}  // namespace reprefill::kernels
