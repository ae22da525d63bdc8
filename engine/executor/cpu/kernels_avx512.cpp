// Compiled with -mavx512f -mfma -mf16c: never include a header with inline functions here (see kernels.inl).
#include <immintrin.h>

#include "engine/executor/cpu/kernels.hpp"
#include "engine/executor/cpu/kernels_variants.hpp"

namespace reprefill::engine {
namespace {

using Vector = float __attribute__((vector_size(64)));
using Words = std::uint32_t __attribute__((vector_size(64)));
using Halves = std::uint16_t __attribute__((vector_size(32)));
constexpr int kRowBlock = 6;  // 24 sums, 4 columns and a broadcast of 32 registers
constexpr int kVectorBlock = 4;
constexpr const char* kName = "avx512";

Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// The zeroing form: g++ 12 warns of an uninitialised operand inside the plain one.
Vector widen_fp16(Halves halves) { return _mm512_maskz_cvtph_ps(0xffff, (__m256i)halves); }

#include "engine/executor/cpu/kernels.inl"

}  // namespace

const Kernels& avx512_kernels() { return kKernels; }

}  // namespace reprefill::engine
