#include "engine/executor/cpu/score.hpp"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/engine/executor/attention_fixture.hpp"
#include "tests/engine/executor/comparison.hpp"

namespace reprefill::engine::test {
namespace {

std::vector<HeadGroup> kv_head_groups(const LayerShape& shape) {
  std::vector<HeadGroup> groups;
  const int size = shape.num_query_heads / shape.num_kv_heads;
  for (int head = 0; head < shape.num_kv_heads; ++head) {
    groups.push_back({.first_head = head * size, .num_heads = size, .stored_head = head, .own_head = head});
  }
  return groups;
}

std::vector<double> score(const RandomLayer& layer, std::span<const HeadGroup> groups, const KeyView& view,
                          const Kernels& kernels, int threads) {
  WorkerPool pool(threads);
  const KeyTiles tiles(layer.shape(), view, layer.own());
  std::vector<double> out(groups.size() * view.num_tokens);
  score_columns(pool, kernels, tiles, layer.queries(), groups, layer.scale(), out);
  return out;
}

std::vector<LayerShape> odd_shapes() {
  return {
      {.num_query_heads = 7, .num_kv_heads = 1, .head_dim = 64, .page_tokens = {16, 16, 3}, .num_own = 5},
      {.num_query_heads = 14, .num_kv_heads = 2, .head_dim = 64, .page_tokens = {64, 1, 128, 7}, .num_own = 50},
      {.num_query_heads = 6, .num_kv_heads = 2, .head_dim = 128, .page_tokens = {127, 1}, .num_own = 1},
      {.num_query_heads = 3, .num_kv_heads = 3, .head_dim = 64, .page_tokens = {130}, .num_own = 140},
  };
}

TEST(Scores, AreTheColumnSumsOfThePlainSoftmax) {
  for (LayerShape shape : odd_shapes()) {
    for (const KvType type : {KvType::bf16, KvType::fp32}) {
      shape.type = type;
      const RandomLayer layer(shape);
      const PlainAttention plain = layer.plain();
      std::vector<double> expected;
      for (const HeadGroup& group : kv_head_groups(shape)) {
        std::vector<double> sums(layer.num_stored());
        for (int head = 0; head < group.num_heads; ++head) {
          const std::vector<double> of_head = plain.column_sums(group.first_head + head);
          for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += of_head[i];
        }
        expected.insert(expected.end(), sums.begin(), sums.end());
      }
      for (std::size_t i = 0; supported_kernels(i) != nullptr; ++i) {
        const std::vector<double> scores =
            score(layer, kv_head_groups(shape), layer.key_view(), *supported_kernels(i), 3);
        EXPECT_LT(relative_error(scores, expected), kAttentionBound) << describe(shape);
      }
    }
  }
}

TEST(Scores, OfAGroupAndOwnMassSumToOneARow) {
  const LayerShape shape = {.num_query_heads = 14, .num_kv_heads = 2, .page_tokens = {500}, .num_own = 33};
  const RandomLayer layer(shape);
  const PlainAttention plain = layer.plain();
  const std::vector<double> scores = score(layer, kv_head_groups(shape), layer.key_view(), best_kernels(), 2);
  for (std::size_t group = 0; group < 2; ++group) {
    double total = 0;
    for (std::size_t i = 0; i < 500; ++i) total += scores[group * 500 + i];
    double own_mass = 0;
    for (int head = 0; head < 7; ++head) {
      for (std::size_t query = 0; query < 33; ++query) {
        const std::vector<double> row = plain.weights(query, static_cast<int>(group) * 7 + head);
        for (std::size_t i = 500; i < row.size(); ++i) own_mass += row[i];
      }
    }
    EXPECT_NEAR(total, 33 * 7 - own_mass, 1e-3);
  }
}

TEST(Scores, OfProbedHeadsReadOnlyTheirKvHeads) {
  const LayerShape shape = {.num_query_heads = 6, .num_kv_heads = 3, .page_tokens = {90}, .num_own = 8};
  const RandomLayer layer(shape);
  // Heads 4 and 1 read KV heads 2 and 0: the slab holds these two, ascending.
  std::vector<std::byte> slab;
  const std::size_t head_bytes = 64 * 2;
  const std::vector<std::byte> keys = RandomLayer(shape).stored_keys().bytes;
  for (std::size_t token = 0; token < 90; ++token) {
    for (const std::size_t head : {0u, 2u}) {
      const auto from = keys.begin() + static_cast<std::ptrdiff_t>((token * 3 + head) * head_bytes);
      slab.insert(slab.end(), from, from + static_cast<std::ptrdiff_t>(head_bytes));
    }
  }
  const std::vector<KeyPage> pages = {{slab.data(), 64}, {slab.data() + 64 * 2 * head_bytes, 26}};
  const std::vector<HeadGroup> groups = {{.first_head = 4, .num_heads = 1, .stored_head = 1, .own_head = 2},
                                         {.first_head = 1, .num_heads = 1, .stored_head = 0, .own_head = 0}};
  const std::vector<double> scores =
      score(layer, groups, {.pages = pages, .num_tokens = 90, .num_heads = 2}, best_kernels(), 2);
  std::vector<double> expected = layer.plain().column_sums(4);
  const std::vector<double> second = layer.plain().column_sums(1);
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_LT(relative_error(scores, expected), kAttentionBound);
}

TEST(Scores, ThreadsAndPagesChangeNoBit) {
  const LayerShape shape = {.num_query_heads = 14, .num_kv_heads = 2, .page_tokens = {700}, .num_own = 60};
  const RandomLayer layer(shape);
  LayerShape ragged_shape = shape;
  ragged_shape.page_tokens = {1, 128, 99, 300, 172};
  const RandomLayer ragged(ragged_shape);
  const auto groups = kv_head_groups(shape);
  const std::vector<double> expected = score(layer, groups, layer.key_view(), best_kernels(), 1);
  EXPECT_EQ(score(layer, groups, layer.key_view(), best_kernels(), 4), expected);
  EXPECT_EQ(score(ragged, groups, ragged.key_view(), best_kernels(), 3), expected);
}

TEST(Scores, OfNoStoredTokensAreNone) {
  const LayerShape shape = {.page_tokens = {}, .num_own = 3};
  const RandomLayer layer(shape);
  EXPECT_TRUE(score(layer, kv_head_groups(shape), layer.key_view(), best_kernels(), 2).empty());
}

TEST(Scores, CarryNotANumber) {
  const LayerShape shape = {.num_query_heads = 1, .num_kv_heads = 1, .page_tokens = {200}, .num_own = 3};
  RandomLayer layer(shape);
  const BFloat16 nan = BFloat16::round(std::nanf(""));
  std::memcpy(layer.stored_keys().bytes.data() + 150 * 128, &nan.bits, 2);
  for (const double value : score(layer, kv_head_groups(shape), layer.key_view(), best_kernels(), 1)) {
    EXPECT_TRUE(std::isnan(value));
  }
}

}  // namespace
}  // namespace reprefill::engine::test
