// What all kernel tests share: skipping without a device, random bf16, and how results are compared.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/bfloat16.hpp"
#include "core/base/random.hpp"
#include "tests/kernels/support/device_memory.hpp"

namespace reprefill::kernels::test {

class KernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
  }
};

inline std::vector<BFloat16> random_bf16(std::uint64_t seed, std::string_view name, std::size_t size,
                                         double sigma = 1) {
  RandomStream random(seed, 0, name);
  std::vector<BFloat16> values(size);
  for (BFloat16& value : values) value = BFloat16::round(static_cast<float>(random.normal(0, sigma)));
  return values;
}

/// |found - expected| / |expected| over a row, by the Euclidean norm. NaN in one and not in the other is infinitely
/// far; where both are NaN, or the same infinity, they agree.
inline double row_error(std::span<const BFloat16> found, std::span<const BFloat16> expected) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double a = static_cast<double>(found[i].widen()), b = static_cast<double>(expected[i].widen());
    if ((std::isnan(a) && std::isnan(b)) || a == b) {
      if (std::isfinite(b)) size += b * b;
      continue;
    }
    if (!std::isfinite(a) || !std::isfinite(b)) return INFINITY;
    difference += (a - b) * (a - b);
    size += b * b;
  }
  return size == 0 ? (difference == 0 ? 0 : INFINITY) : std::sqrt(difference / size);
}

/// The largest over rows of `row_size` elements.
inline double worst_row_error(std::span<const BFloat16> found, std::span<const BFloat16> expected,
                              std::size_t row_size) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); i += row_size) {
    worst = std::max(worst, row_error(found.subspan(i, row_size), expected.subspan(i, row_size)));
  }
  return worst;
}

}  // namespace reprefill::kernels::test
