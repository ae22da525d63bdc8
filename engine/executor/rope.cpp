#include "engine/executor/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace reprefill::engine {
namespace {

/// The (fractional) dimension whose wavelength turns `rotations` times within the original context.
double correction_dim(double rotations, double dim, double theta, double original_max_positions) {
  return dim * std::log(original_max_positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

/// transformers' _compute_yarn_parameters: high frequencies stay, low ones are divided by the factor, with a linear
/// ramp in between. The ramp is fp32 there.
void apply_yarn(const YarnScaling& yarn, double theta, int head_dim, std::span<float> inverse_frequencies) {
  const double dim = head_dim;
  const double original = yarn.original_max_positions;
  const double low = std::max(std::floor(correction_dim(yarn.beta_fast, dim, theta, original)), 0.0);
  const double high = std::min(std::ceil(correction_dim(yarn.beta_slow, dim, theta, original)), dim - 1);
  const double width = low == high ? 0.001 : high - low;
  for (std::size_t i = 0; i < inverse_frequencies.size(); ++i) {
    const auto power = static_cast<float>(std::pow(theta, 2.0 * static_cast<double>(i) / dim));
    const float extrapolated = 1.0f / power;
    const float interpolated = 1.0f / (static_cast<float>(yarn.factor) * power);
    const float ramp =
        std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(width), 0.0f, 1.0f);
    const float kept = 1.0f - ramp;
    inverse_frequencies[i] = interpolated * (1.0f - kept) + extrapolated * kept;
  }
}

}  // namespace

Rope::Rope(const DecoderConfig& config) : inverse_frequencies_(static_cast<std::size_t>(config.geometry.head_dim) / 2) {
  const int dim = config.geometry.head_dim;
  for (std::size_t i = 0; i < inverse_frequencies_.size(); ++i) {
    const double exponent = static_cast<double>(static_cast<float>(2 * i) / static_cast<float>(dim));
    inverse_frequencies_[i] = 1.0f / static_cast<float>(std::pow(config.rope_theta, exponent));
  }
  if (!config.yarn) return;
  apply_yarn(*config.yarn, config.rope_theta, dim, inverse_frequencies_);
  const double factor = config.yarn->factor;
  attention_scaling_ =
      static_cast<float>(config.yarn->attention_factor.value_or(factor <= 1 ? 1.0 : 0.1 * std::log(factor) + 1.0));
}

void Rope::angles(std::uint32_t position, std::span<float> cosines, std::span<float> sines) const {
  for (std::size_t i = 0; i < inverse_frequencies_.size(); ++i) {
    const float angle = static_cast<float>(position) * inverse_frequencies_[i];
    cosines[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * attention_scaling_;
    sines[i] = static_cast<float>(std::sin(static_cast<double>(angle))) * attention_scaling_;
  }
}

void rotate_half(float* head, std::span<const float> cosines, std::span<const float> sines) {
  const std::size_t half = cosines.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float first = head[i];
    const float second = head[half + i];
    head[i] = first * cosines[i] - second * sines[i];
    head[half + i] = second * cosines[i] + first * sines[i];
  }
}

}  // namespace reprefill::engine
