#include "core/model/costs.hpp"

#include <gtest/gtest.h>

#include "tests/core/model/model_fixture.hpp"

namespace reprefill {
namespace {

using test_support::qwen_7b;
using test_support::tiny_model;

// The tiny model: hidden 32, query width 32, K width 16, MLP 48, vocab 100, 3 layers, 2-byte elements.

TEST(OperationCosts, ProjectMultipliesByTheQkvMatrix) {
  // 5 tokens: 2 x 5 x 32 x 64 FLOPs. Bytes: QKV 2048, bias 64, norm 32, input 5 x 32, output 5 x 64 elements.
  const OperationCost cost = OperationCosts(tiny_model()).project(5);
  EXPECT_EQ(cost.flops, 20'480);
  EXPECT_EQ(cost.bytes_moved, Bytes{2 * (2048 + 64 + 32 + 160 + 320)});
}

TEST(OperationCosts, TheLinearPartOfAttendIsOutputProjectionAndMlp) {
  // 5 tokens: 2 x 5 x (32 x 32 + 3 x 32 x 48) FLOPs. Bytes: those weights (5632), the norm (32); per token 32 into the
  // projection, the residual read and written twice (4 x 32), gate, up and their product (3 x 48).
  const OperationCost cost = OperationCosts(tiny_model()).attend_linear(5);
  EXPECT_EQ(cost.flops, 56'320);
  EXPECT_EQ(cost.bytes_moved, Bytes{2 * (5632 + 32 + 5 * (32 + 128 + 144))});
}

TEST(OperationCosts, AttentionCountsKeptKeysKeptValuesAndTheCausalTriangle) {
  // 3 queries over 10 kept K and 4 kept V: logits 3 x 10 + (1 + 2 + 3), weighted values 3 x 4 + 6, each 2 x 8 FLOPs for
  // 4 heads: (36 + 18) x 64. Bytes: 10 + 4 prefix tensors and 2 x 3 own ones of 32 B; queries in, outputs out.
  const OperationCost cost = OperationCosts(tiny_model()).attend_attention(3, 0, 10, 4);
  EXPECT_EQ(cost.flops, 54 * 64);
  EXPECT_EQ(cost.bytes_moved, Bytes{20 * 32 + 2 * 3 * 64});
}

TEST(OperationCosts, BlocksOfAPrefillAddUpToTheWhole) {
  const OperationCosts costs(qwen_7b());
  const double whole = costs.attend_attention(5000, 0, 64, 64).flops;
  double blocks = 0;
  for (const std::uint64_t first : {0, 2048, 4096}) {
    blocks += costs.attend_attention(std::min<std::uint64_t>(2048, 5000 - first), first, 64, 64).flops;
  }
  EXPECT_EQ(blocks, whole);
}

TEST(OperationCosts, ScoringTakesTheDenominatorsOverAllKeysAndTheLogitsOfThePrefixAgain) {
  // 3 queries, 10 prefix tokens, 2 query heads on 1 KV head of 8: (3 x 10 + 6) + 3 x 10 = 66 dot products of 16 FLOPs
  // a head. Bytes: keys of 10 + 3 and of 10 tokens at 16 B, queries of 2 x 16 B twice, 10 fp32 scores.
  const OperationCost cost = OperationCosts(tiny_model()).score(3, 10, 2, 1);
  EXPECT_EQ(cost.flops, 66 * 16 * 2);
  EXPECT_EQ(cost.bytes_moved, Bytes{23 * 16 + 2 * 3 * 32 + 40});
}

TEST(OperationCosts, ProbingOneKvHeadMovesLessThanScoringAllHeads) {
  const OperationCosts costs(qwen_7b());
  const OperationCost all = costs.score(64, 6016, 28, 4);
  const OperationCost probe = costs.score(64, 6016, 3, 1);
  EXPECT_DOUBLE_EQ(probe.flops / all.flops, 3.0 / 28);
  EXPECT_LT(4 * probe.bytes_moved.value, all.bytes_moved.value);  // also a smaller share of the queries
}

TEST(OperationCosts, SelectReadsEveryScoreFiveTimesAndWritesTheChoice) {
  const OperationCost cost = OperationCosts(tiny_model()).select(376, 19);
  EXPECT_EQ(cost.flops, 0);
  EXPECT_EQ(cost.bytes_moved, Bytes{5 * 376 * 4 + 19 * 4});
}

TEST(OperationCosts, GatherMovesItsPiecesOnce) {
  EXPECT_EQ(OperationCosts(tiny_model()).gather(Bytes{19 * 32'768}).bytes_moved, Bytes{19 * 32'768});
}

TEST(OperationCosts, FirstTokenReadsTheWholeLmHead) {
  // One token: 2 x 32 x 100 FLOPs. Bytes: lm_head 6400, input and norm 2 x 64, 100 fp32 logits written and read.
  const OperationCost cost = OperationCosts(tiny_model()).first_token();
  EXPECT_EQ(cost.flops, 6400);
  EXPECT_EQ(cost.bytes_moved, Bytes{6400 + 128 + 800});
}

TEST(OperationCosts, NoTokensNeedNoFlops) {
  const OperationCosts costs(tiny_model());
  EXPECT_EQ(costs.project(0).flops, 0);
  EXPECT_EQ(costs.attend_linear(0).flops, 0);
  EXPECT_EQ(costs.attend_attention(0, 7, 10, 10).flops, 0);
  EXPECT_EQ(costs.score(0, 10, 4, 2).flops, 0);
  EXPECT_EQ(costs.select(0, 0).bytes_moved, Bytes{0});
  EXPECT_EQ(costs.gather(Bytes{0}).bytes_moved, Bytes{0});
}

TEST(OperationCosts, AnEmptyPrefixLeavesTheCausalTriangle) {
  EXPECT_EQ(OperationCosts(tiny_model()).attend_attention(1, 0, 0, 0).flops, 2 * 64);
}

double full_prefill_flops(const ModelGeometry& geometry, std::uint64_t tokens) {
  const OperationCosts costs(geometry);
  return geometry.num_layers * (costs.project(tokens).flops + costs.attend_linear(tokens).flops +
                                costs.attend_attention(tokens, 0, 0, 0).flops);
}

TEST(OperationCosts, AFullPrefillCostsTheFlopsOfReference37) {
  // 2 N_nonemb n + 2 n^2 heads head_dim L. Norms and biases are in N but multiply nothing, and the causal triangle has
  // n (n + 1) / 2 pairs, not n^2 / 2: both below 0.1 %.
  const ModelGeometry geometry = qwen_7b();
  for (const std::uint64_t tokens : {3811, 6011, 10'000}) {
    const auto n = static_cast<double>(tokens);
    const double formula = 2 * static_cast<double>(geometry.non_embedding_params()) * n +
                           2 * n * n * geometry.num_query_heads * geometry.head_dim * geometry.num_layers;
    EXPECT_NEAR(full_prefill_flops(geometry, tokens) / formula, 1, 1e-3);
  }
  EXPECT_NEAR(full_prefill_flops(geometry, 3811) * 1e-12, 52.7, 0.05);
  EXPECT_NEAR(full_prefill_flops(geometry, 6011) * 1e-12, 85.7, 0.05);
  EXPECT_NEAR(full_prefill_flops(geometry, 10'000) * 1e-12, 150.6, 0.05);
}

TEST(OperationCosts, WeightsOfAllOperationsAreThoseOfTheModel) {
  // With no tokens only weights move: project and attend_linear together read a layer once.
  const ModelGeometry geometry = qwen_7b();
  const OperationCosts costs(geometry);
  EXPECT_EQ(costs.project(0).bytes_moved + costs.attend_linear(0).bytes_moved, geometry.layer_weight_bytes());
}

}  // namespace
}  // namespace reprefill
