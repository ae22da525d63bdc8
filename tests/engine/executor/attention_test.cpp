#include "engine/executor/cpu/attention.hpp"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/engine/executor/attention_fixture.hpp"
#include "tests/engine/executor/comparison.hpp"

namespace reprefill::engine::test {
namespace {

std::vector<LayerShape> odd_shapes() {
  return {
      {.num_query_heads = 7, .num_kv_heads = 1, .head_dim = 64, .page_tokens = {16, 16, 3}, .num_own = 5},
      {.num_query_heads = 14, .num_kv_heads = 2, .head_dim = 64, .page_tokens = {64, 1, 128, 7}, .num_own = 37},
      {.num_query_heads = 4, .num_kv_heads = 2, .head_dim = 128, .page_tokens = {100}, .num_own = 129},
      {.num_query_heads = 6, .num_kv_heads = 2, .head_dim = 128, .page_tokens = {127, 1}, .num_own = 1},
      {.num_query_heads = 3, .num_kv_heads = 3, .head_dim = 64, .page_tokens = {}, .num_own = 1},
      {.num_query_heads = 2, .num_kv_heads = 2, .head_dim = 64, .page_tokens = {}, .num_own = 200},
      {.num_query_heads = 16, .num_kv_heads = 1, .head_dim = 16, .page_tokens = {33}, .num_own = 20},
      {.num_query_heads = 2, .num_kv_heads = 1, .head_dim = 96, .page_tokens = {128, 128}, .num_own = 3},
      {.num_query_heads = 14, .num_kv_heads = 2, .head_dim = 64, .page_tokens = {2048, 1500}, .num_own = 2},
      {.num_query_heads = 1, .num_kv_heads = 1, .head_dim = 64, .page_tokens = {1024}, .num_own = 1},
  };
}

TEST(Attention, EqualsThePlainDefinitionOnOddShapesWithEveryInstructionSet) {
  WorkerPool pool(3);
  for (LayerShape shape : odd_shapes()) {
    for (const KvType type : {KvType::bf16, KvType::fp32}) {
      shape.type = type;
      const RandomLayer layer(shape);
      const std::vector<double> expected = layer.plain().outputs();
      for (std::size_t i = 0; supported_kernels(i) != nullptr; ++i) {
        EXPECT_LT(relative_error(layer.attend(pool, *supported_kernels(i)), expected), kAttentionBound)
            << describe(shape) << ", " << supported_kernels(i)->name;
      }
    }
  }
}

TEST(Attention, MasksPerKvHeadHideKeysAndValues) {
  WorkerPool pool(2);
  for (const LayerShape& shape : odd_shapes()) {
    for (const double keep : {0.0, 0.3, 0.9}) {
      RandomLayer layer(shape);
      layer.mask_at_random(keep);
      EXPECT_LT(relative_error(layer.attend(pool, best_kernels()), layer.plain().outputs()), kAttentionBound)
          << describe(shape) << ", keep " << keep;
    }
  }
}

TEST(Attention, AKeyWithoutItsValueStaysInTheDenominator) {
  RandomLayer layer({.num_query_heads = 1, .num_kv_heads = 1, .page_tokens = {1}, .num_own = 1});
  layer.keep_v() = {0};
  std::ranges::fill(layer.query_values(), 0.0f);  // both keys weigh one half
  WorkerPool pool(1);
  const std::vector<float> out = layer.attend(pool, best_kernels());
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_FLOAT_EQ(out[i], static_cast<float>(layer.own_values().values[i] / 2));
  }
}

TEST(Attention, PagesWithoutValuesAreReadWhereTheMaskDropsThem) {
  RandomLayer layer({.page_tokens = {16, 16, 16}, .num_own = 3});
  layer.keep_v().assign(2 * 48, 1);
  for (std::size_t head = 0; head < 2; ++head) {
    std::fill_n(layer.keep_v().begin() + static_cast<std::ptrdiff_t>(head * 48 + 16), 16, std::uint8_t{0});
  }
  layer.pages()[1].values = nullptr;
  WorkerPool pool(1);
  EXPECT_LT(relative_error(layer.attend(pool, best_kernels()), layer.plain().outputs()), kAttentionBound);
  layer.keep_v()[20] = 1;
  EXPECT_THROW(layer.attend(pool, best_kernels()), InvariantError);
}

TEST(Attention, SplittingTheSameKeysBetweenPagesAndOwnTokensChangesNoBit) {
  constexpr std::uint32_t kTotal = 2500;
  const LayerShape whole = {.num_query_heads = 14, .num_kv_heads = 2, .page_tokens = {}, .num_own = kTotal};
  RandomLayer layer(whole);
  WorkerPool pool(4);
  const std::vector<float> plain = layer.attend(pool, best_kernels());
  const std::size_t token_bytes = 2 * 64 * 2;
  for (const std::uint32_t stored : {1u, 64u, 1000u, 1024u, 2432u, 2499u}) {
    std::vector<KvPage> pages;
    for (std::uint32_t at = 0; at < stored; at += 48) {
      pages.push_back({layer.own_keys().bytes.data() + at * token_bytes,
                       layer.own_values().bytes.data() + at * token_bytes, std::min(48u, stored - at)});
    }
    const KeyTiles tiles(layer.shape(), KvView{.pages = pages, .num_tokens = stored},
                         OwnKv{layer.own_keys().bytes.data() + stored * token_bytes,
                               layer.own_values().bytes.data() + stored * token_bytes, kTotal - stored});
    Queries queries = layer.queries();
    queries.data += stored * layer.row_size();
    queries.count = kTotal - stored;
    std::vector<float> out(queries.count * layer.row_size());
    attend(pool, best_kernels(), tiles, queries, layer.scale(), out.data(), layer.row_size());
    EXPECT_EQ(std::memcmp(out.data(), plain.data() + stored * layer.row_size(), out.size() * sizeof(float)), 0)
        << stored;
  }
}

TEST(Attention, ThreadsChangeNoBit) {
  RandomLayer layer({.num_query_heads = 14, .num_kv_heads = 2, .page_tokens = {3000}, .num_own = 40});
  WorkerPool one(1);
  const std::vector<float> expected = layer.attend(one, best_kernels());
  for (const int threads : {2, 3, 4, 16}) {
    WorkerPool pool(threads);
    for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(layer.attend(pool, best_kernels()), expected) << threads;
  }
}

TEST(Attention, NotANumberAnywhereReachesEveryRowThatSeesIt) {
  const float nan = std::nanf("");
  const BFloat16 bits = BFloat16::round(nan);
  WorkerPool pool(1);
  for (const std::size_t token : {0u, 15u, 40u, 199u}) {
    for (const bool in_keys : {true, false}) {
      RandomLayer layer({.num_query_heads = 2, .num_kv_heads = 1, .page_tokens = {100, 100}, .num_own = 2});
      std::vector<std::byte>& bytes = in_keys ? layer.stored_keys().bytes : layer.stored_values().bytes;
      std::memcpy(bytes.data() + token * 128, &bits.bits, 2);
      const std::vector<float> out = layer.attend(pool, best_kernels());
      EXPECT_TRUE(std::isnan(out[0])) << token;
      EXPECT_TRUE(std::isnan(out[3 * 64])) << token;
    }
  }
}

TEST(Attention, MaskedTokensMayHoldAnything) {
  const BFloat16 bits = BFloat16::round(std::nanf(""));
  RandomLayer layer({.num_query_heads = 2, .num_kv_heads = 1, .page_tokens = {100}, .num_own = 2});
  layer.keep_k().assign(100, 1);
  layer.keep_k()[7] = 0;
  const std::vector<double> expected = layer.plain().outputs();
  std::memcpy(layer.stored_keys().bytes.data() + 7 * 128, &bits.bits, 2);
  std::memcpy(layer.stored_values().bytes.data() + 7 * 128, &bits.bits, 2);
  WorkerPool pool(1);
  EXPECT_LT(relative_error(layer.attend(pool, best_kernels()), expected), kAttentionBound);
}

TEST(Attention, LogitsFarApartNeitherOverflowNorVanish) {
  RandomLayer layer({.num_query_heads = 2, .num_kv_heads = 1, .page_tokens = {300}, .num_own = 9});
  for (float& query : layer.query_values()) query *= 200;
  WorkerPool pool(2);
  EXPECT_LT(relative_error(layer.attend(pool, best_kernels()), layer.plain().outputs()), 1e-3);
}

TEST(Attention, ViewsWhoseCountsContradictEachOtherAreRefused) {
  RandomLayer layer({.page_tokens = {16}, .num_own = 1});
  KvView view = layer.view();
  view.num_tokens = 17;
  EXPECT_THROW(KeyTiles(layer.shape(), view, layer.own()), InvariantError);
  view = layer.view();
  const std::vector<std::uint8_t> short_mask(31, 1);
  view.keep_k = short_mask;
  EXPECT_THROW(KeyTiles(layer.shape(), view, layer.own()), InvariantError);
  view.keep_k = {};
  view.keep_v = short_mask;
  EXPECT_THROW(KeyTiles(layer.shape(), view, layer.own()), InvariantError);
}

}  // namespace
}  // namespace reprefill::engine::test
