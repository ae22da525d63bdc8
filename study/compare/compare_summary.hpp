// All points together: errors, ranking, coverage, the worst span; as JSON, and as Markdown for people.
#pragma once

#include <span>

#include "sim/scenario/scenario.hpp"
#include "study/compare/point_comparison.hpp"

namespace reprefill::study {

inline constexpr int kCompareSchemaVersion = 1;

/// `range_90` says whether the first point's profile has a common mode: without, the range is of single operations
/// only.
Json summarise_comparison(std::span<const sim::Point> points, std::span<const PointComparison> comparisons);

/// `rows` and `summary` as `compare` made them.
std::string compare_markdown(std::span<const Json> rows, const Json& summary);

}  // namespace reprefill::study
