// The two reduced precisions of importance traces. Both are scaled for each head, because attention mass spans many
// powers of two: fp16 keeps 11 bits over 29 octaves below the largest score, log8 a constant relative step over 32.
#pragma once

#include <cstdint>
#include <span>

namespace reprefill::traces::detail {

/// IEEE 754 binary16, round to nearest even. `value` must be finite, non-negative and below 65520.
std::uint16_t half_from_float(float value);
/// Exact. `bits` must be a finite, non-negative half.
float float_from_half(std::uint16_t bits);
constexpr bool is_score_half(std::uint16_t bits) { return bits < 0x7c00; }

/// A power of two that brings the largest score into [2^14, 2^15). Relative error at most 2^-11 for scores above
/// 2^-29 of the largest, absolute error at most scale * 2^-25 below (as long as these are normal floats).
float half_scale(std::span<const float> scores);

/// score = 2^(low + (code - 1) * step) for codes 1 to 255, 0 for code 0. Relative error at most 2^(step/2) - 1 (and
/// float rounding); scores below 2^-32 of the largest become 0.
struct LogScale {
  float low = 0;
  float step = 0;
};
LogScale log_scale(std::span<const float> scores);
std::uint8_t log_code(float score, const LogScale& scale);
float score_of_log_code(std::uint8_t code, const LogScale& scale);

}  // namespace reprefill::traces::detail
