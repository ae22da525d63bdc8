// Compiled with -mavx2 -mfma -mf16c: never include a header with inline functions here (see kernels.inl).
#include <immintrin.h>

#include "engine/executor/cpu/kernels.hpp"
#include "engine/executor/cpu/kernels_variants.hpp"

namespace reprefill::engine {
namespace {

using Vector = float __attribute__((vector_size(32)));
using Words = std::uint32_t __attribute__((vector_size(32)));
using Halves = std::uint16_t __attribute__((vector_size(16)));
constexpr int kRowBlock = 6;  // 12 sums, 2 columns and a broadcast of 16 registers
constexpr int kVectorBlock = 2;
constexpr const char* kName = "avx2";

Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
Vector widen_fp16(Halves halves) { return _mm256_cvtph_ps((__m128i)halves); }

#include "engine/executor/cpu/kernels.inl"

}  // namespace

const Kernels& avx2_kernels() { return kKernels; }

}  // namespace reprefill::engine
