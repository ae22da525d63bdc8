#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/select_chunks/select_chunks.hpp"

namespace reprefill::kernels {
namespace {

std::uint32_t find_errors(const float* scores, std::uint32_t num_units) {
  std::uint32_t errors = 0;
  for (std::uint32_t unit = 0; unit < num_units; ++unit) {
    if (std::isnan(scores[unit])) errors |= kScoreIsNan;
    if (scores[unit] < 0) errors |= kScoreIsNegative;
  }
  return errors;
}

}  // namespace

void select_chunks_reference(const SelectChunks& arguments) {
  const SelectCounts counts = arguments.device_counts != nullptr ? *arguments.device_counts : arguments.counts;
  const std::uint32_t num_units = std::min(counts.num_units, arguments.max_units);
  for (std::uint32_t group = 0; group < arguments.num_groups; ++group) {
    const float* scores = arguments.scores + std::uint64_t{group} * arguments.max_units;
    arguments.errors[group] = find_errors(scores, num_units);
    arguments.num_chosen[group] = arguments.errors[group] != 0 ? 0 : std::min({counts.k, arguments.max_k, num_units});
    if (arguments.num_chosen[group] == 0) continue;
    std::vector<std::uint32_t> units(num_units);
    std::iota(units.begin(), units.end(), 0u);
    std::stable_sort(units.begin(), units.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
    units.resize(arguments.num_chosen[group]);
    std::sort(units.begin(), units.end());
    std::copy(units.begin(), units.end(), arguments.indices + std::uint64_t{group} * arguments.max_k);
  }
}

}  // namespace reprefill::kernels
