// The plain formulas of tests/support against the table of reference 7, and core/layout's integer ones against them.
#include <gtest/gtest.h>

#include "core/base/random.hpp"
#include "core/layout/byte_accounts.hpp"
#include "tests/core/model/model_fixture.hpp"
#include "tests/support/byte_accounts.hpp"

namespace reprefill::layout {
namespace {

using test_support::ByteAccounts;

/// 7B, n = 6011.
constexpr ByteAccounts kRte{.prefix_tokens = 6011, .num_layers = 28, .k_bytes = 1024};

TEST(ByteAccountsReference, IsTheTableOfReference7) {
  EXPECT_NEAR(kRte.attention_store() / 1e6, 345, 0.5);
  EXPECT_NEAR(kRte.as_h2o(ByteAccounts::scattered(0.05)) / 1e6, 338, 0.5);  // the table's 337 takes f in whole blocks:
  EXPECT_NEAR(kRte.as_h2o(90 * 64 / 6011.0) / 1e6, 337, 0.5);               // 0.962 of 94 blocks are 90
  EXPECT_NEAR(kRte.as_h2o(ByteAccounts::scattered(0.25)) / 1e6, 345, 0.5);
  EXPECT_NEAR(kRte.impress(0.25, 90 * 64 / 6011.0) / 1e6, 373, 0.5);
  EXPECT_NEAR(kRte.impress(0.25, 1) / 1e6, 388, 0.5);
  EXPECT_NEAR(kRte.impress(0.25, 12 * 0.05) / 1e6, 250, 0.5);
  EXPECT_NEAR(kRte.impress(0.25, 5 * 64 / 6011.0) / 1e6, 61, 0.5);
  EXPECT_NEAR(kRte.impress(0.25, 24 * 64 / 6011.0) / 1e6, 131, 0.5);
  EXPECT_NEAR(kRte.contiguous_kv_keys() / 1e6, 24.6, 0.05);
  EXPECT_NEAR(kRte.contiguous_kv_payload(1, 20) / 1e6, 17.4, 0.05);
  EXPECT_NEAR(kRte.contiguous_kv_payload(1, 4) / 1e6, 86.2, 0.05);
  EXPECT_NEAR(kRte.contiguous_kv(1, 20) / 1e6, 42, 0.5);
  EXPECT_NEAR(kRte.contiguous_kv(1, 4) / 1e6, 111, 0.5);
}

TEST(ByteAccountsReference, AnImpressThatFallsBackEverywhereReadsAllBlocks) {
  EXPECT_EQ(kRte.impress(0.25, 0.1, 28), kRte.impress(0.25, 1));
  EXPECT_EQ(kRte.impress(0.25, 0.1, 0), kRte.impress(0.25, 0.1));
}

TEST(ByteAccountsReference, EqualsTheIntegerFormulasOfCore) {
  RandomStream random(1, 0, "byte accounts");
  for (const ModelGeometry& geometry :
       {test_support::tiny_model(), test_support::qwen_0_5b(), test_support::qwen_7b()}) {
    const auto layers = static_cast<double>(geometry.num_layers);
    const auto k = static_cast<double>(geometry.kv_tensor_bytes_per_token_layer().value);
    for (int round = 0; round < 300; ++round) {
      const std::uint64_t n = 1 + random.below(20'000), touched = random.below(n + 1);
      const auto fallback = static_cast<int>(random.below(static_cast<std::uint64_t>(geometry.num_layers) + 1));
      const double f = static_cast<double>(touched) / static_cast<double>(n);
      const int period = 1 + static_cast<int>(random.below(12));
      const ByteAccounts plain{.prefix_tokens = static_cast<double>(n),
                               .num_layers = layers,
                               .k_bytes = k,
                               .period_layers = static_cast<double>(period)};
      const auto near = [](double reference, Bytes found) {
        EXPECT_NEAR(static_cast<double>(found.value), reference, 1e-9 * reference + 1e-3);
      };
      near(plain.attention_store(), attention_store_bytes(geometry, n));
      near(plain.as_h2o(f), as_h2o_bytes(geometry, n, touched));
      near(plain.impress(1.0 / geometry.num_kv_heads, f, fallback),
           impress_bytes(geometry, n, touched, std::vector<int>{0}, fallback));
      const std::uint64_t denominator = 1 + random.below(50), numerator = 1 + random.below(denominator);
      ContiguousKvShape shape{.period_layers = period, .budget = Budget(numerator, denominator)};
      const ContiguousKvBytes found = contiguous_kv_bytes(geometry, n, shape);
      near(plain.contiguous_kv_keys(), found.identification);
      near(plain.contiguous_kv_payload(numerator, denominator), found.payload);
      shape.leader_keys = LeaderKeyReads::reuse;
      near(plain.contiguous_kv_payload_reusing_keys(numerator, denominator),
           contiguous_kv_bytes(geometry, n, shape).payload);
      ASSERT_FALSE(testing::Test::HasFailure()) << geometry.name << ", round " << round;
    }
  }
}

}  // namespace
}  // namespace reprefill::layout
