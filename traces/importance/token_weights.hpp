// How the mass of a chunk is split among its tokens: products of look-ups by random bytes. Nothing else in a simulation
// of systems that choose single tokens is done as often.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "traces/importance/weight_table.hpp"

namespace reprefill::traces::detail {

inline constexpr std::uint32_t kChunkTokens = 16;

/// A table of weights, and the same as four tables of the bytes of its floats: a permutation of AVX-512 looks up 64
/// bytes of such a table at once.
struct TokenWeights {
  WeightTable weights{};
  alignas(64) std::array<std::array<std::uint8_t, kNumLevels>, sizeof(float)> of_byte{};

  TokenWeights() = default;
  explicit TokenWeights(const WeightTable& table);
};

/// draws[16 i + t] *= weights[byte t of the 16 random ones that (key, first_chunk + i) gives]. `draws` are whole
/// chunks. Uses AVX-512 where the processor has it; the products are the same, bit for bit.
void multiply_tokens(std::span<float> draws, std::uint64_t key, std::uint32_t first_chunk, const TokenWeights& weights);

/// The same in plain C++.
void multiply_tokens_plain(std::span<float> draws, std::uint64_t key, std::uint32_t first_chunk,
                           const TokenWeights& weights);

}  // namespace reprefill::traces::detail
