// What any machine runs: vectors of four floats, which every compiler lowers to what there is; no fused multiply-add,
// which would be a library call.
#include "engine/executor/cpu/kernels.hpp"
#include "engine/executor/cpu/kernels_variants.hpp"

namespace reprefill::engine {
namespace {

using Vector = float __attribute__((vector_size(16)));
using Words = std::uint32_t __attribute__((vector_size(16)));
using Halves = std::uint16_t __attribute__((vector_size(8)));
constexpr int kRowBlock = 6;
constexpr int kVectorBlock = 2;
constexpr const char* kName = "portable";

Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }

/// IEEE half: normal numbers by their bits, subnormal ones by their value in units of 2^-24.
float widen_fp16(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t fraction = half & 0x3ffu;
  std::uint32_t bits = sign;
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    std::uint32_t magnitude;
    __builtin_memcpy(&magnitude, &value, sizeof magnitude);
    bits |= magnitude;
  } else if (exponent == 31) {
    bits |= 0x7f800000u | fraction << 13;
  } else {
    bits |= (exponent + 112) << 23 | fraction << 13;
  }
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}

Vector widen_fp16(Halves halves) {
  return Vector{widen_fp16(halves[0]), widen_fp16(halves[1]), widen_fp16(halves[2]), widen_fp16(halves[3])};
}

#include "engine/executor/cpu/kernels.inl"

}  // namespace

const Kernels& portable_kernels() { return kKernels; }

}  // namespace reprefill::engine
