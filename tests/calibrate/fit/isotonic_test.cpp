#include "calibrate/fit/isotonic.hpp"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace reprefill::calibrate {
namespace {

using testing::ElementsAre;

double squared_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

TEST(Isotonic, ViolatorsArePooledToTheirMean) {
  EXPECT_THAT(isotonic(std::vector<double>{1, 3, 2, 4}), ElementsAre(1, 2.5, 2.5, 4));
  EXPECT_THAT(isotonic(std::vector<double>{3, 2, 1}), ElementsAre(2, 2, 2));
}

TEST(Isotonic, WeightsDecideThePoolsMean) {
  EXPECT_THAT(isotonic(std::vector<double>{4, 1}, std::vector<double>{1, 3}), ElementsAre(1.75, 1.75));
}

TEST(Isotonic, MonotoneValuesStayAsTheyAre) {
  EXPECT_THAT(isotonic(std::vector<double>{1, 1, 5}), ElementsAre(1, 1, 5));
  EXPECT_THAT(isotonic({}), ElementsAre());
  EXPECT_THAT(isotonic(std::vector<double>{7}), ElementsAre(7));
}

TEST(Isotonic, NoOtherMonotoneSequenceIsNearer) {
  RandomStream random(1, 0, "isotonic");
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> values;
    for (int i = 0; i < 6; ++i) values.push_back(random.uniform());
    const std::vector<double> fitted = isotonic(values);
    ASSERT_TRUE(std::ranges::is_sorted(fitted));
    for (int other = 0; other < 50; ++other) {
      std::vector<double> rival = fitted;
      for (double& value : rival) value += random.normal(0, 0.1);
      std::ranges::sort(rival);
      EXPECT_GE(squared_distance(rival, values), squared_distance(fitted, values) - 1e-12);
    }
  }
}

TEST(IsotonicGrid, RowsAndColumnsBothRise) {
  RandomStream random(2, 0, "grid");
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<double> values;
    for (int i = 0; i < 20; ++i) values.push_back(random.uniform());
    const std::vector<double> fitted = isotonic_grid(values, 4, 5);
    for (std::size_t row = 0; row < 4; ++row) {
      for (std::size_t column = 0; column < 5; ++column) {
        if (column > 0) {
          EXPECT_GE(fitted[row * 5 + column], fitted[row * 5 + column - 1]);
        }
        if (row > 0) {
          EXPECT_GE(fitted[row * 5 + column], fitted[(row - 1) * 5 + column]);
        }
      }
    }
  }
}

TEST(IsotonicGrid, ByHand) {
  // Only the pair of the last column violates: it is pooled, and its row stays ordered.
  EXPECT_THAT(isotonic_grid(std::vector<double>{1, 4, 2, 2}, 2, 2),
              ElementsAre(testing::DoubleNear(1, 1e-6), testing::DoubleNear(3, 1e-6), testing::DoubleNear(2, 1e-6),
                          testing::DoubleNear(3, 1e-6)));
}

TEST(IsotonicGrid, NoMonotoneGridNearbyIsBetter) {
  RandomStream random(3, 0, "rivals");
  for (int trial = 0; trial < 30; ++trial) {
    std::vector<double> values;
    for (int i = 0; i < 9; ++i) values.push_back(random.uniform());
    const std::vector<double> fitted = isotonic_grid(values, 3, 3);
    for (int other = 0; other < 30; ++other) {
      std::vector<double> rival = fitted;
      for (double& value : rival) value += random.normal(0, 0.05);
      rival = isotonic_grid(rival, 3, 3);
      EXPECT_GE(squared_distance(rival, values), squared_distance(fitted, values) - 1e-6);
    }
  }
}

TEST(IsotonicDurations, ErrorsAreRelative) {
  const std::vector<double> fitted = isotonic_durations(std::vector<double>{400, 100}, 1, 2);
  EXPECT_NEAR(fitted[0], 200, 1e-6);  // the geometric mean
  EXPECT_NEAR(fitted[1], 200, 1e-6);
}

}  // namespace
}  // namespace reprefill::calibrate
