#include "traces/importance/score_coding.hpp"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace reprefill::traces::detail {
namespace {

TEST(HalfCoding, EveryFiniteHalfSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    ASSERT_EQ(half_from_float(float_from_half(static_cast<std::uint16_t>(bits))), bits);
  }
}

TEST(HalfCoding, KnownValues) {
  EXPECT_EQ(half_from_float(0.0f), 0x0000);
  EXPECT_EQ(half_from_float(1.0f), 0x3c00);
  EXPECT_EQ(half_from_float(65504.0f), 0x7bff);
  EXPECT_EQ(half_from_float(0x1p-24f), 0x0001);
  EXPECT_EQ(half_from_float(0x1p-14f), 0x0400);
  EXPECT_EQ(float_from_half(0x3555), 0.333251953125f);
}

TEST(HalfCoding, TiesGoToTheEvenMantissa) {
  EXPECT_EQ(half_from_float(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(half_from_float(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(half_from_float(0x1p-25f), 0x0000);
  EXPECT_EQ(half_from_float(3 * 0x1p-25f), 0x0002);
  EXPECT_EQ(half_from_float(std::nextafter(0x1p-14f, 0.0f)), 0x0400);  // rounds up into the normal numbers
}

std::vector<float> heavy_tailed(std::uint32_t seed, std::size_t count, double octaves) {
  std::mt19937 engine(seed);
  std::vector<float> scores;
  for (std::size_t i = 0; i < count; ++i) {
    scores.push_back(static_cast<float>(std::exp2(-octaves * static_cast<double>(engine()) * 0x1p-32)));
  }
  return scores;
}

TEST(HalfCoding, ScaledScoresStayWithinTheirBound) {
  for (const float magnitude : {1e-25f, 1.0f, 3e7f}) {
    std::vector<float> scores = heavy_tailed(1, 1000, 35);
    float largest = 0;
    for (float& score : scores) largest = std::max(largest, score *= magnitude);
    const float scale = half_scale(scores);
    for (const float score : scores) {
      const float decoded = float_from_half(half_from_float(score / scale)) * scale;
      const float bound = score > largest * 0x1p-29f ? score * 0x1p-11f : scale * 0x1p-25f;
      EXPECT_LE(std::abs(decoded - score), bound) << score;
    }
  }
}

TEST(HalfCoding, AllZeroOrNoScoresHaveAScale) {
  EXPECT_EQ(half_scale({}), 1.0f);
  EXPECT_EQ(half_scale(std::vector<float>{0.0f, 0.0f}), 1.0f);
}

TEST(LogCoding, ScoresStayWithinTheirBoundAndTinyOnesBecomeZero) {
  std::vector<float> scores = heavy_tailed(2, 1000, 31);
  scores.push_back(0.0f);
  scores.push_back(0x1p-40f);  // below 2^-32 of the largest
  const LogScale scale = log_scale(scores);
  EXPECT_LE(scale.step, 32.0f / 254);
  const double bound = std::exp2(static_cast<double>(scale.step) / 2) - 1;
  for (const float score : scores) {
    const double decoded = static_cast<double>(score_of_log_code(log_code(score, scale), scale));
    if (score == 0 || score == 0x1p-40f) {
      EXPECT_EQ(decoded, 0);
    } else {
      EXPECT_NEAR(decoded, static_cast<double>(score), static_cast<double>(score) * (bound + 1e-5));
    }
  }
}

TEST(LogCoding, OneValueNoValueAndZeros) {
  const std::vector<float> same = {0.125f, 0.125f, 0.0f};
  const LogScale scale = log_scale(same);
  EXPECT_EQ(scale.step, 0.0f);
  EXPECT_EQ(score_of_log_code(log_code(0.125f, scale), scale), 0.125f);
  EXPECT_EQ(log_code(0.0f, scale), 0);
  EXPECT_EQ(log_scale({}).step, 0.0f);
  EXPECT_EQ(log_code(0.0f, log_scale(std::vector<float>{0.0f})), 0);
}

}  // namespace
}  // namespace reprefill::traces::detail
