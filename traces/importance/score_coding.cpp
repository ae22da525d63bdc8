#include "traces/importance/score_coding.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace reprefill::traces::detail {
namespace {

constexpr int kLogRangeOctaves = 32;
constexpr float kNumLogSteps = 254;
constexpr std::uint32_t kExponentShift = 13;         // mantissa bits that a float has more than a half
constexpr std::uint32_t kBiasDifference = 127 - 15;  // of the exponents

}  // namespace

std::uint16_t half_from_float(float value) {
  const float smallest_normal = std::ldexp(1.0f, -14);
  if (value < smallest_normal) return static_cast<std::uint16_t>(std::nearbyint(std::ldexp(value, 24)));
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t round = 0xfff + ((bits >> kExponentShift) & 1);  // ties to the even mantissa
  return static_cast<std::uint16_t>(((bits + round) >> kExponentShift) - (kBiasDifference << 10));
}

float float_from_half(std::uint16_t bits) {
  // Reading the half's fields as a float's gives the value times 2^-112; subnormals come out right too.
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << kExponentShift) * 0x1p112f;
}

float half_scale(std::span<const float> scores) {
  const float largest = scores.empty() ? 0.0f : *std::max_element(scores.begin(), scores.end());
  if (largest == 0) return 1;
  int exponent = 0;
  std::frexp(largest, &exponent);  // largest = m * 2^exponent, m in [0.5, 1)
  return std::ldexp(1.0f, std::max(exponent - 15, -126));
}

LogScale log_scale(std::span<const float> scores) {
  const float largest = scores.empty() ? 0.0f : *std::max_element(scores.begin(), scores.end());
  if (largest == 0) return {};
  const float floor = std::ldexp(largest, -kLogRangeOctaves);
  float smallest = largest;
  for (const float score : scores) {
    if (score >= floor && score > 0) smallest = std::min(smallest, score);
  }
  const double low = std::log2(static_cast<double>(smallest));
  const double high = std::log2(static_cast<double>(largest));
  return {.low = static_cast<float>(low), .step = static_cast<float>((high - low) / static_cast<double>(kNumLogSteps))};
}

std::uint8_t log_code(float score, const LogScale& scale) {
  if (score == 0) return 0;
  const double above = std::log2(static_cast<double>(score)) - static_cast<double>(scale.low);
  if (scale.step == 0) return above < -0.5 ? 0 : 1;
  const double steps = std::nearbyint(above / static_cast<double>(scale.step));
  if (steps < 0) return 0;  // below the range that a code can hold
  return static_cast<std::uint8_t>(1 + std::min(steps, static_cast<double>(kNumLogSteps)));
}

float score_of_log_code(std::uint8_t code, const LogScale& scale) {
  if (code == 0) return 0;
  return static_cast<float>(
      std::exp2(static_cast<double>(scale.low) + (static_cast<double>(code) - 1) * static_cast<double>(scale.step)));
}

}  // namespace reprefill::traces::detail
