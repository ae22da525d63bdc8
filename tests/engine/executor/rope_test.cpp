#include "engine/executor/rope.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace reprefill::engine {
namespace {

DecoderConfig config_of(int head_dim, double theta) {
  DecoderConfig config;
  config.geometry.head_dim = head_dim;
  config.rope_theta = theta;
  return config;
}

TEST(Rope, AnglesFollowTheFormula) {
  const Rope rope(config_of(64, 1e6));
  std::vector<float> cosines(32), sines(32);
  for (const std::uint32_t position : {0u, 1u, 17u, 1000u}) {
    rope.angles(position, cosines, sines);
    for (std::size_t i = 0; i < 32; ++i) {
      const double angle = position * std::pow(1e6, -2.0 * static_cast<double>(i) / 64);
      EXPECT_NEAR(static_cast<double>(cosines[i]), std::cos(angle), 1.5e-7 * (1 + position));
      EXPECT_NEAR(static_cast<double>(sines[i]), std::sin(angle), 1.5e-7 * (1 + position));
    }
  }
}

TEST(Rope, FrequenciesAreRoundedAsTheTrainedModelSawThem) {
  const Rope rope(config_of(128, 1e6));
  for (std::size_t i = 0; i < 64; ++i) {
    const auto power = static_cast<float>(std::pow(1e6, static_cast<double>(i) / 64));
    EXPECT_EQ(rope.inverse_frequencies()[i], 1.0f / power);
  }
  std::vector<float> cosines(64), sines(64);
  rope.angles(30000, cosines, sines);
  const float angle = 30000.0f * rope.inverse_frequencies()[1];
  EXPECT_EQ(cosines[1], static_cast<float>(std::cos(static_cast<double>(angle))));
}

TEST(Rope, RotatesHalvesAgainstEachOther) {
  std::vector<float> head = {1, 2, 3, 4};
  rotate_half(head.data(), std::vector<float>{0, 1}, std::vector<float>{1, 0});
  EXPECT_EQ(head, (std::vector<float>{-3, 2, 1, 4}));  // the first pair (1, 3) by a quarter turn, the second not
}

TEST(Yarn, KeepsHighFrequenciesAndStretchesLowOnes) {
  // Qwen2.5: head_dim 128, theta 1e6, factor 4 over 32,768. correction_dim(32) = 128 ln(32768 / 64 pi) / (2 ln 1e6)
  // = 23.6, correction_dim(1) = 39.6: the ramp goes from 23 to 40.
  DecoderConfig config = config_of(128, 1e6);
  const Rope plain(config);
  config.yarn = YarnScaling{.factor = 4, .original_max_positions = 32768, .attention_factor = {}};
  const Rope yarn(config);
  for (std::size_t i = 0; i < 64; ++i) {
    const auto expected = static_cast<double>(plain.inverse_frequencies()[i]);
    const double ramp = std::clamp((static_cast<double>(i) - 23) / 17, 0.0, 1.0);
    EXPECT_NEAR(static_cast<double>(yarn.inverse_frequencies()[i]), expected * (1 - ramp) + expected / 4 * ramp,
                3e-7 * expected)
        << i;
  }
  EXPECT_FLOAT_EQ(yarn.attention_scaling(), static_cast<float>(0.1 * std::log(4.0) + 1));
}

TEST(Yarn, ScalesCosinesAndSinesByTheGivenAttentionFactor) {
  DecoderConfig config = config_of(64, 1e4);
  config.yarn = YarnScaling{.factor = 2, .original_max_positions = 128, .attention_factor = 1.5};
  const Rope rope(config);
  std::vector<float> cosines(32), sines(32);
  rope.angles(0, cosines, sines);
  EXPECT_EQ(cosines[0], 1.5f);
  EXPECT_EQ(sines[0], 0.0f);
}

TEST(Yarn, ByFactorOneChangesNothing) {
  DecoderConfig config = config_of(64, 1e4);
  const Rope plain(config);
  config.yarn = YarnScaling{.factor = 1, .original_max_positions = 4096, .attention_factor = {}};
  const Rope yarn(config);
  EXPECT_EQ(yarn.attention_scaling(), 1);
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_FLOAT_EQ(yarn.inverse_frequencies()[i], plain.inverse_frequencies()[i]);
  }
}

}  // namespace
}  // namespace reprefill::engine
