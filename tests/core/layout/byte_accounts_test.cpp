#include "core/layout/byte_accounts.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/model/model_fixture.hpp"

namespace reprefill::layout {
namespace {

using test_support::qwen_7b;
using test_support::tiny_model;

constexpr std::uint64_t kRte = 6011;  // tokens; the table of reference 7
const std::vector<int> kOneKvHead = {0, 1, 2};

double rounded_mb(Bytes size) { return std::round(static_cast<double>(size.value) / 1e6); }
double tenths_of_mb(Bytes size) { return std::round(static_cast<double>(size.value) / 1e5) / 10; }

TEST(ByteAccounts, AttentionStoreReadsAllOfTheTable) {
  EXPECT_EQ(rounded_mb(attention_store_bytes(qwen_7b(), kRte)), 345);
  EXPECT_EQ(attention_store_bytes(qwen_7b(), kRte), kRte * qwen_7b().kv_bytes_per_token());
}

TEST(ByteAccounts, ScatteredTokensTouchNearlyEveryBlock) {
  EXPECT_NEAR(scattered_share({1, 20}, 64), 0.962, 5e-4);
  EXPECT_NEAR(scattered_share({1, 10}, 64), 0.999, 5e-4);
  EXPECT_NEAR(scattered_share({1, 4}, 64), 1, 5e-4);
  EXPECT_EQ(scattered_share({1, 1}, 64), 1);
}

// Whole blocks: 0.962 of 94 blocks are 90, 5,760 tokens.

TEST(ByteAccounts, AsH2oOfTheTable) {
  EXPECT_EQ(rounded_mb(as_h2o_bytes(qwen_7b(), kRte, 90 * 64)), 337);
  EXPECT_EQ(rounded_mb(as_h2o_bytes(qwen_7b(), kRte, kRte)), 345);
}

TEST(ByteAccounts, ImpressOfTheTable) {
  const ModelGeometry geometry = qwen_7b();
  EXPECT_EQ(rounded_mb(impress_bytes(geometry, kRte, 90 * 64, kOneKvHead)), 373);         // 5 %, scattered
  EXPECT_EQ(rounded_mb(impress_bytes(geometry, kRte, kRte, kOneKvHead)), 388);            // 25 %, scattered
  EXPECT_EQ(rounded_mb(impress_bytes(geometry, kRte, 12 * kRte / 20, kOneKvHead)), 250);  // amplification 12x at 5 %
  // Perfectly packed: ceil(0.05 x 6011 / 64) = 5 blocks and ceil(0.25 x 6011 / 64) = 24.
  EXPECT_EQ(rounded_mb(impress_bytes(geometry, kRte, 5 * 64, kOneKvHead)), 61);
  EXPECT_EQ(rounded_mb(impress_bytes(geometry, kRte, 24 * 64, kOneKvHead)), 131);
}

TEST(ByteAccounts, ImpressFallbackLayersReadEverything) {
  const ModelGeometry geometry = tiny_model();  // k = 32, one KV head 16
  // 100 tokens, 10 touched: probe keys 16 x 100 x 3; payload 2 x 32 x (10 + 10 + 100).
  EXPECT_EQ(impress_bytes(geometry, 100, 10, std::vector<int>{0}, 1), Bytes{4800 + 7680});
  EXPECT_EQ(impress_bytes(geometry, 100, 10, std::vector<int>{0}, 3),
            impress_bytes(geometry, 100, 100, std::vector<int>{0}));
}

TEST(ByteAccounts, ContiguousKvOfTheTable) {
  const ContiguousKvBytes five = contiguous_kv_bytes(qwen_7b(), kRte, {});
  EXPECT_EQ(tenths_of_mb(five.identification), 24.6);
  EXPECT_EQ(tenths_of_mb(five.payload), 17.4);
  EXPECT_EQ(rounded_mb(five.total()), 42);
  const ContiguousKvBytes quarter = contiguous_kv_bytes(qwen_7b(), kRte, {.budget = {1, 4}});
  EXPECT_EQ(tenths_of_mb(quarter.payload), 86.2);
  EXPECT_EQ(rounded_mb(quarter.total()), 111);
}

TEST(ByteAccounts, ReusedLeaderKeysSaveOneTensorAPeriod) {
  // 5,952 stored tokens: 372 chunks, 19 chosen; four periods.
  const Bytes reread = contiguous_kv_bytes(qwen_7b(), 5952, {}).payload;
  const Bytes reuse = contiguous_kv_bytes(qwen_7b(), 5952, {.leader_keys = LeaderKeyReads::reuse}).payload;
  EXPECT_EQ(reread, Bytes{2 * 1024 * 16 * 19 * 28});
  EXPECT_EQ(reread - reuse, Bytes{4 * 1024 * 16 * 19});
}

TEST(ByteAccounts, ChunksAreRoundedUpExactly) {
  // ceil(0.05 x 20) is 1; in floating point 0.05 * 20 may be above 1.
  EXPECT_EQ(contiguous_kv_bytes(tiny_model(), 320, {}).payload, Bytes{2 * 32 * 16 * 1 * 3});
  EXPECT_EQ(contiguous_kv_bytes(tiny_model(), 336, {}).payload, Bytes{2 * 32 * 16 * 2 * 3});
}

TEST(ByteAccounts, AnEmptyPrefixReadsNothing) {
  EXPECT_EQ(attention_store_bytes(qwen_7b(), 0), Bytes{0});
  EXPECT_EQ(as_h2o_bytes(qwen_7b(), 0, 0), Bytes{0});
  EXPECT_EQ(impress_bytes(qwen_7b(), 0, 0, kOneKvHead), Bytes{0});
  EXPECT_EQ(contiguous_kv_bytes(qwen_7b(), 0, {}).total(), Bytes{0});
}

}  // namespace
}  // namespace reprefill::layout
