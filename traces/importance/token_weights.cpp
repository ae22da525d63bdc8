#include "traces/importance/token_weights.hpp"

#include <bit>

#include "core/base/random.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace reprefill::traces::detail {

TokenWeights::TokenWeights(const WeightTable& table) : weights(table) {
  for (std::size_t i = 0; i < kNumLevels; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(table[i]);
    for (std::size_t byte = 0; byte < sizeof(float); ++byte) {
      of_byte[byte][i] = static_cast<std::uint8_t>(bits >> (8 * byte));
    }
  }
}

void multiply_tokens_plain(std::span<float> draws, std::uint64_t key, std::uint32_t first_chunk,
                           const TokenWeights& weights) {
  std::uint64_t counter = key + 2 * std::uint64_t{first_chunk};
  for (float* draw = draws.data(); draw != draws.data() + draws.size(); draw += kChunkTokens, counter += 2) {
    std::uint64_t low = mix64(counter), high = mix64(counter + 1);
    for (std::size_t t = 0; t < 8; ++t, low >>= 8, high >>= 8) {
      draw[t] *= weights.weights[low & 0xff];
      draw[t + 8] *= weights.weights[high & 0xff];
    }
  }
}

#if defined(__x86_64__)
namespace {

#define REPREFILL_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vbmi")))

constexpr std::size_t kTokensPerStep = 64;  // four chunks: eight counters, 64 random bytes

using Eight = std::uint64_t __attribute__((vector_size(64)));

REPREFILL_AVX512 inline Eight mix64_of_eight(Eight x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// Entries of a table of 256 bytes.
REPREFILL_AVX512 inline __m512i look_up(const std::array<std::uint8_t, kNumLevels>& table, __m512i index,
                                        __mmask64 upper_half) {
  const auto* quarter = reinterpret_cast<const __m512i*>(table.data());
  return _mm512_mask_blend_epi8(
      upper_half, _mm512_permutex2var_epi8(_mm512_load_si512(quarter), index, _mm512_load_si512(quarter + 1)),
      _mm512_permutex2var_epi8(_mm512_load_si512(quarter + 2), index, _mm512_load_si512(quarter + 3)));
}

/// Whole steps of `draws`.
REPREFILL_AVX512 void multiply_tokens_avx512(std::span<float> draws, std::uint64_t counter,
                                             const TokenWeights& weights) {
  constexpr __mmask16 kAll = 0xffff;  // g++ 12 warns of the unmasked form, which begins with an undefined register
  // Unpacking joins bytes within quarters of a register, four tokens of each: these come first in their quarters.
  const __m512i transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  Eight counters = Eight{0, 1, 2, 3, 4, 5, 6, 7} + counter;
  for (float* draw = draws.data(); draw != draws.data() + draws.size(); draw += kTokensPerStep, counters += 8) {
    const auto random = reinterpret_cast<__m512i>(mix64_of_eight(counters));
    const __m512i index = _mm512_maskz_permutexvar_epi32(kAll, transposed, random);
    const __mmask64 upper_half = _mm512_movepi8_mask(index);
    const __m512i b0 = look_up(weights.of_byte[0], index, upper_half),
                  b1 = look_up(weights.of_byte[1], index, upper_half);
    const __m512i b2 = look_up(weights.of_byte[2], index, upper_half),
                  b3 = look_up(weights.of_byte[3], index, upper_half);
    const __m512i low_first = _mm512_unpacklo_epi8(b0, b1), low_second = _mm512_unpackhi_epi8(b0, b1);
    const __m512i high_first = _mm512_unpacklo_epi8(b2, b3), high_second = _mm512_unpackhi_epi8(b2, b3);
    const __m512i entries[4] = {
        _mm512_unpacklo_epi16(low_first, high_first), _mm512_unpackhi_epi16(low_first, high_first),
        _mm512_unpacklo_epi16(low_second, high_second), _mm512_unpackhi_epi16(low_second, high_second)};
    for (std::size_t i = 0; i < 4; ++i) {
      float* sixteen = draw + 16 * i;
      _mm512_storeu_ps(sixteen, _mm512_mul_ps(_mm512_loadu_ps(sixteen), _mm512_castsi512_ps(entries[i])));
    }
  }
}

bool has_avx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi");
  return has;
}

}  // namespace

void multiply_tokens(std::span<float> draws, std::uint64_t key, std::uint32_t first_chunk,
                     const TokenWeights& weights) {
  std::size_t num_done = 0;
  if (has_avx512()) {
    num_done = draws.size() / kTokensPerStep * kTokensPerStep;
    multiply_tokens_avx512(draws.first(num_done), key + 2 * std::uint64_t{first_chunk}, weights);
  }
  multiply_tokens_plain(draws.subspan(num_done), key, first_chunk + static_cast<std::uint32_t>(num_done / kChunkTokens),
                        weights);
}
#else
void multiply_tokens(std::span<float> draws, std::uint64_t key, std::uint32_t first_chunk,
                     const TokenWeights& weights) {
  multiply_tokens_plain(draws, key, first_chunk, weights);
}
#endif

}  // namespace reprefill::traces::detail
