// How outputs of the executor are compared with a reference.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace reprefill::engine::test {

/// Of attention and scores in fp32 against double: a logit of size 8 is a sum of up to 128 products and carries an
/// error of up to 2e-6, which is the relative error of its weight; a row that one key dominates is ten times the root
/// mean square of all rows.
inline constexpr double kAttentionBound = 3e-5;

/// Largest |actual - expected|, over the root mean square of `expected`: outputs near zero are judged by the scale of
/// the row, not their own. Infinite where either holds NaN or infinity, or the sizes differ.
template <typename Actual, typename Expected>
double relative_error(std::span<const Actual> actual, std::span<const Expected> expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  double squares = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto got = static_cast<double>(actual[i]);
    const auto wanted = static_cast<double>(expected[i]);
    if (!std::isfinite(got) || !std::isfinite(wanted)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, std::abs(got - wanted));
    squares += wanted * wanted;
  }
  if (worst == 0) return 0;
  return worst / std::sqrt(squares / static_cast<double>(expected.size()));
}

template <typename Actual, typename Expected>
double relative_error(const Actual& actual, const Expected& expected) {
  return relative_error(std::span<const typename Actual::value_type>(actual),
                        std::span<const typename Expected::value_type>(expected));
}

}  // namespace reprefill::engine::test
