// Look-ups by AVX-512 against plain ones: the same products, bit for bit.
#include "traces/importance/token_weights.hpp"

#include <vector>

#include <gmock/gmock.h>

#include "core/base/random.hpp"

namespace reprefill::traces::detail {
namespace {

using testing::ElementsAreArray;

TokenWeights weights_of(double sigma) { return TokenWeights(make_weights(normal_levels(), sigma)); }

std::vector<float> some_draws(std::uint32_t num_chunks) {
  RandomStream random(1, 0, "draws");
  std::vector<float> draws(std::size_t{num_chunks} * kChunkTokens);
  for (float& draw : draws) draw = static_cast<float>(random.exponential(1));
  return draws;
}

TEST(MultiplyTokens, GivesThePlainProductsForAnyNumberOfChunks) {
  const TokenWeights weights = weights_of(1.36);
  for (const std::uint32_t num_chunks : {0u, 1u, 3u, 4u, 5u, 8u, 63u, 376u}) {
    for (const std::uint32_t first_chunk : {0u, 1u, 7u}) {
      std::vector<float> plain = some_draws(num_chunks), fast = plain;
      multiply_tokens_plain(plain, ~std::uint64_t{5}, first_chunk, weights);  // counters wrap around
      multiply_tokens(fast, ~std::uint64_t{5}, first_chunk, weights);
      EXPECT_THAT(fast, ElementsAreArray(plain)) << num_chunks << " chunks from " << first_chunk;
    }
  }
}

TEST(MultiplyTokens, LooksUpEveryEntry) {
  WeightTable numbered{};
  for (std::size_t i = 0; i < kNumLevels; ++i) numbered[i] = static_cast<float>(i) + 0.25f;
  const TokenWeights weights(numbered);
  constexpr std::uint64_t kKey = 649;  // the first whose 1,024 bytes have all 256 values
  std::vector<float> draws(std::size_t{64} * kChunkTokens, 1.0f);
  multiply_tokens(draws, kKey, 0, weights);
  std::vector<bool> seen(kNumLevels);
  for (std::size_t token = 0; token < draws.size(); ++token) {
    const std::uint64_t random = mix64(kKey + token / 8);
    const auto level = static_cast<std::size_t>(random >> (8 * (token % 8)) & 0xff);
    EXPECT_EQ(draws[token], numbered[level]) << "token " << token;
    seen[level] = true;
  }
  EXPECT_THAT(seen, testing::Each(true));
}

}  // namespace
}  // namespace reprefill::traces::detail
