#include "kernels/chunk_attention/chunk_attention.hpp"

#include "kernels/base/kernel_error.hpp"
#include "kernels/chunk_attention/attention_plan.hpp"
#include "tests/kernels/support/attention_case.hpp"

namespace reprefill::kernels::test {
namespace {

// A row of a bf16 result is off by the rounding of its elements, at most 2^-9 each, and by that of the probabilities,
// again at most 2^-9 each, whose errors add up like random ones. 6e-3 is three times the least that was seen to pass;
// every mutation below is at least twice as far off.
constexpr double kTolerance = 6e-3;

class ChunkAttentionKernel : public KernelTest {};

void expect_agreement(const AttentionSpec& spec) {
  SCOPED_TRACE(testing::Message() << spec.num_queries << " queries after " << spec.first_query << ", " << spec.num_slots
                                  << " slots in pages of " << spec.page_tokens << ", heads " << spec.num_query_heads
                                  << "/" << spec.num_kv_heads << " x " << spec.head_dim << ", " << spec.num_splits
                                  << " splits, ragged " << spec.is_ragged << ", masks " << spec.has_keep_k
                                  << spec.has_keep_v);
  const AttentionCase attention(spec);
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
}

TEST_F(ChunkAttentionKernel, OneQueryOverOneStoredTokenMixesTwoValues) {
  expect_agreement({.num_queries = 1, .num_slots = 1, .num_query_heads = 1, .num_kv_heads = 1});
}

TEST_F(ChunkAttentionKernel, WithoutAPrefixItIsCausalSelfAttention) {
  expect_agreement({.num_queries = 1, .num_slots = 0});
  expect_agreement({.num_queries = 19, .num_slots = 0});
  expect_agreement({.num_queries = 70, .num_slots = 0, .num_query_heads = 2, .num_kv_heads = 1, .head_dim = 64});
}

TEST_F(ChunkAttentionKernel, PagesOfAnySizeAgreeWithTheReference) {
  for (const std::uint32_t page_tokens : {1u, 3u, 16u, 17u, 64u, 100u, 128u}) {
    expect_agreement({.num_queries = 5,
                      .num_slots = 111,
                      .page_tokens = page_tokens,
                      .num_query_heads = 2,
                      .num_kv_heads = 1,
                      .seed = page_tokens});
  }
}

TEST_F(ChunkAttentionKernel, EveryLengthAroundATileBoundaryAgrees) {
  for (const std::uint32_t num_slots : {63u, 64u, 65u, 127u, 128u, 129u}) {
    expect_agreement({.num_queries = 3,
                      .num_slots = num_slots,
                      .num_query_heads = 1,
                      .num_kv_heads = 1,
                      .head_dim = 64,
                      .seed = num_slots});
  }
  for (const std::uint32_t num_queries : {15u, 16u, 17u, 63u, 64u, 65u, 128u, 130u}) {
    expect_agreement({.num_queries = num_queries,
                      .num_slots = 20,
                      .num_query_heads = 1,
                      .num_kv_heads = 1,
                      .head_dim = 64,
                      .seed = num_queries});
  }
}

TEST_F(ChunkAttentionKernel, PrefixesOfManyTilesAgree) {
  for (const int num_splits : {1, 2, 5}) {
    expect_agreement({.num_queries = 70,
                      .num_slots = 900,
                      .num_query_heads = 2,
                      .num_kv_heads = 1,
                      .head_dim = num_splits == 2 ? 64 : 128,
                      .num_splits = num_splits});
  }
  expect_agreement({.num_queries = 3,
                    .num_slots = 1500,
                    .page_tokens = 7,
                    .num_query_heads = 7,
                    .num_kv_heads = 1,
                    .is_ragged = true,
                    .has_keep_k = true,
                    .has_keep_v = true,
                    .num_splits = 2});
}

TEST_F(ChunkAttentionKernel, EveryGeometryOfQwen25Agrees) {
  struct Geometry {
    int num_query_heads, num_kv_heads, head_dim;
  };
  // 0.5B, 1.5B, 3B, 7B, 14B and 32B, 72B; one KV head fewer costs nothing but time: groups are what differs.
  for (const Geometry& g : {Geometry{14, 2, 64}, Geometry{12, 2, 128}, Geometry{16, 2, 128}, Geometry{28, 4, 128},
                            Geometry{40, 8, 128}, Geometry{64, 8, 128}}) {
    expect_agreement({.num_queries = 9,
                      .num_slots = 37,
                      .num_query_heads = g.num_query_heads,
                      .num_kv_heads = g.num_kv_heads,
                      .head_dim = g.head_dim});
  }
}

TEST_F(ChunkAttentionKernel, GroupsOfOneToSixteenQueryHeadsAgree) {
  for (const int group : {1, 2, 3, 4, 5, 6, 7, 8, 11, 16}) {
    expect_agreement({.num_queries = 11,
                      .num_slots = 30,
                      .num_query_heads = group,
                      .num_kv_heads = 1,
                      .head_dim = 64,
                      .seed = static_cast<std::uint64_t>(group)});
  }
}

TEST_F(ChunkAttentionKernel, SplitsAreCombinedAlsoWhereSomeHaveNoKeys) {
  for (const int num_splits : {2, 3, 5, 33, 64}) {
    expect_agreement({.num_queries = 7,
                      .num_slots = 300,
                      .num_query_heads = 4,
                      .num_kv_heads = 2,
                      .head_dim = 64,
                      .num_splits = num_splits});
    expect_agreement(
        {.num_queries = 2, .num_slots = 10, .num_query_heads = 2, .num_kv_heads = 1, .num_splits = num_splits});
  }
}

TEST_F(ChunkAttentionKernel, MasksDropLogitsAndValuesPerKvHead) {
  for (const int num_splits : {1, 3}) {
    expect_agreement({.num_queries = 10,
                      .num_slots = 150,
                      .num_query_heads = 6,
                      .num_kv_heads = 3,
                      .head_dim = 64,
                      .has_keep_k = true,
                      .num_splits = num_splits});
    expect_agreement({.num_queries = 10, .num_slots = 150, .has_keep_v = true, .num_splits = num_splits});
    expect_agreement({.num_queries = 40,
                      .num_slots = 150,
                      .page_tokens = 10,
                      .has_keep_k = true,
                      .has_keep_v = true,
                      .num_splits = num_splits});
  }
}

TEST_F(ChunkAttentionKernel, RaggedPagesLeaveOutWhatTheyDoNotHold) {
  expect_agreement({.num_queries = 6, .num_slots = 130, .is_ragged = true});
  expect_agreement({.num_queries = 6,
                    .num_slots = 130,
                    .page_tokens = 50,
                    .is_ragged = true,
                    .has_keep_k = true,
                    .has_keep_v = true,
                    .num_splits = 2});
}

TEST_F(ChunkAttentionKernel, LaterBlocksOfASuffixSeeEarlierOnes) {
  expect_agreement({.num_queries = 20, .num_slots = 40, .first_query = 50});
  expect_agreement({.num_queries = 1, .num_slots = 0, .first_query = 130, .num_splits = 2});
}

TEST_F(ChunkAttentionKernel, RandomShapesAgree) {
  RandomStream random(20261123, 0, "shapes");
  for (std::uint64_t i = 0; i < 16; ++i) {
    const auto below = [&](std::uint64_t count) { return static_cast<std::uint32_t>(random.below(count)); };
    const int num_kv_heads = 1 + static_cast<int>(below(3));
    expect_agreement({.num_queries = 1 + below(40),
                      .num_slots = below(260),
                      .page_tokens = 1 + below(128),
                      .num_query_heads = num_kv_heads * (1 + static_cast<int>(below(8))),
                      .num_kv_heads = num_kv_heads,
                      .head_dim = below(2) == 0 ? 64 : 128,
                      .first_query = below(3) * below(90),
                      .is_ragged = below(3) == 0,
                      .has_keep_k = below(3) == 0,
                      .has_keep_v = below(3) == 0,
                      .num_splits = static_cast<int>(below(5)),
                      .seed = i});
  }
}

TEST_F(ChunkAttentionKernel, AMaskThatKeepsNothingLeavesOwnTokensOnly) {
  AttentionCase attention({.num_queries = 4, .num_slots = 70, .has_keep_k = true});
  std::fill(attention.keep_k.begin(), attention.keep_k.end(), std::uint8_t{0});
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
}

TEST_F(ChunkAttentionKernel, PagesWithoutKeptValuesNeedNone) {
  AttentionCase attention({.num_queries = 4, .num_slots = 48, .has_keep_v = true});
  for (std::size_t head = 0; head < 2; ++head) {
    for (std::size_t slot = 16; slot < 32; ++slot) attention.keep_v[head * 48 + slot] = 0;
  }
  attention.values.set_null(1);
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
}

TEST_F(ChunkAttentionKernel, NanAndInfinityReachExactlyTheRowsThatSeeThem) {
  AttentionCase attention({.num_queries = 8, .num_slots = 70});
  const std::size_t kv_size = 2 * 128;
  attention.own_keys[5 * kv_size + 3] = {0x7fc0};             // NaN: rows from query 5 on, first KV head
  attention.values.page_of(2)[7 * kv_size + 130] = {0x7f80};  // inf: one element of every row, second KV head
  attention.values.upload();
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
  const std::vector<BFloat16> found = attention.found();
  EXPECT_TRUE(std::isfinite(found[4 * attention.row_size()].widen()));
  EXPECT_TRUE(std::isnan(found[5 * attention.row_size()].widen()));
  EXPECT_TRUE(std::isinf(found[2 * 128 + 2].widen()));
}

TEST_F(ChunkAttentionKernel, MaskedTokensMayHoldNan) {
  AttentionCase attention({.num_queries = 4, .num_slots = 32, .has_keep_k = true});
  for (std::size_t head = 0; head < 2; ++head) attention.keep_k[head * 32 + 20] = 0;
  std::fill_n(attention.keys.page_of(1) + 4 * 256, 256, BFloat16{0x7fc0});
  std::fill_n(attention.values.page_of(1) + 4 * 256, 256, BFloat16{0x7f80});
  attention.keys.upload();
  attention.values.upload();
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
}

TEST_F(ChunkAttentionKernel, LargeLogitsNeitherOverflowNorVanish) {
  AttentionCase attention({.num_queries = 6, .num_slots = 100, .num_splits = 2});
  for (BFloat16& query : attention.queries) query = BFloat16::round(query.widen() * 300);
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
}

TEST_F(ChunkAttentionKernel, EqualKeysAverageTheirValues) {
  AttentionCase attention({.num_queries = 2, .num_slots = 64, .num_query_heads = 1, .num_kv_heads = 1});
  for (std::size_t page = 0; page < 4; ++page) std::fill_n(attention.keys.page_of(page), 16 * 128, BFloat16{0x3f80});
  attention.keys.upload();
  for_each_schedule([&] { EXPECT_LT(attention.error(), kTolerance); });
}

TEST_F(ChunkAttentionKernel, LengthsAreReadOnTheDevice) {
  AttentionCase attention({.num_queries = 5, .num_slots = 100});
  const AttentionCase shorter({.num_queries = 5, .num_slots = 39});
  const DeviceArray<std::uint32_t> length(std::vector<std::uint32_t>{39});
  const auto set = [&](ChunkAttention& arguments) { arguments.prefix.tokens.device_num_slots = length.get(); };
  for (const int num_splits : {1, 4}) {
    const auto found = attention.found([&](ChunkAttention& arguments) {
      set(arguments);
      arguments.num_splits = num_splits;
    });
    const std::uint32_t host_length = 39;
    AttentionCase same({.num_queries = 5, .num_slots = 100});
    ChunkAttention reference;
    std::vector<BFloat16> expected(found.size());
    reference.queries = same.queries.data();
    reference.own_keys = same.own_keys.data();
    reference.own_values = same.own_values.data();
    reference.prefix = {.tokens = {.page_tokens = 16, .num_slots = 100, .device_num_slots = &host_length},
                        .key_pages = same.keys.host(),
                        .value_pages = same.values.host()};
    reference.out = expected.data();
    reference.num_queries = 5;
    reference.num_query_heads = 4;
    reference.num_kv_heads = 2;
    reference.head_dim = 128;
    reference.scale = 1 / std::sqrt(128.0f);
    chunk_attention_reference(reference);
    EXPECT_LT(worst_row_error(found, expected, 128), kTolerance);
  }
}

TEST_F(ChunkAttentionKernel, TheSameArgumentsGiveTheSameBits) {
  const AttentionCase attention({.num_queries = 9, .num_slots = 200, .num_splits = 3});
  EXPECT_EQ(attention.found(), attention.found());
}

TEST_F(ChunkAttentionKernel, TheToleranceCatchesBrokenKernels) {
  const AttentionSpec spec{.num_queries = 4, .num_slots = 100};
  AttentionCase attention(spec);
  ASSERT_LT(attention.error(), kTolerance);
  const auto expect_caught = [&](const char* what, const std::function<void(ChunkAttention&)>& change) {
    EXPECT_GT(attention.error(change), 2 * kTolerance) << what;
  };
  expect_caught("the last stored token is left out", [](ChunkAttention& a) { a.prefix.tokens.num_slots = 99; });
  expect_caught("logits are 4 % too small", [](ChunkAttention& a) { a.scale *= 0.96f; });
  const std::vector<BFloat16> expected = attention.expected();
  AttentionCase heads(spec);
  std::rotate(heads.queries.begin(), heads.queries.begin() + 128, heads.queries.end());
  EXPECT_GT(worst_row_error(heads.found(), expected, 128), 2 * kTolerance) << "query heads are off by one";
  AttentionCase own(spec);
  std::rotate(own.own_keys.begin(), own.own_keys.begin() + 2 * 128, own.own_keys.end());
  EXPECT_GT(worst_row_error(own.found(), expected, 128), 2 * kTolerance) << "own keys are off by one token";
  attention.keys.swap_on_device(1, 4);
  EXPECT_GT(attention.error(), 2 * kTolerance) << "two pages of keys are mixed up";
  AttentionCase values(spec);
  values.values.swap_on_device(1, 4);
  EXPECT_GT(values.error(), 2 * kTolerance) << "two pages of values are mixed up";
}

TEST_F(ChunkAttentionKernel, ShapesOutsideTheContractAreRefused) {
  const AttentionCase attention({.num_queries = 2, .num_slots = 20});
  const auto refused = [&](const std::function<void(ChunkAttention&)>& change) {
    EXPECT_THROW(attention.found(change), ShapeError);
  };
  refused([](ChunkAttention& a) { a.head_dim = 96; });
  refused([](ChunkAttention& a) { a.num_query_heads = 3; });
  refused([](ChunkAttention& a) { a.num_query_heads = 34; });
  refused([](ChunkAttention& a) { a.num_queries = 2049; });
  refused([](ChunkAttention& a) { a.prefix.tokens.page_tokens = 129; });
  refused([](ChunkAttention& a) { a.prefix.tokens.page_tokens = 0; });
  refused([](ChunkAttention& a) { a.scale = 0; });
  refused([](ChunkAttention& a) { a.queries = nullptr; });
  refused([](ChunkAttention& a) { a.prefix.key_pages = nullptr; });
}

TEST_F(ChunkAttentionKernel, NoQueriesAreNoWork) {
  ChunkAttention arguments;
  arguments.num_query_heads = arguments.num_kv_heads = 1;
  arguments.head_dim = 64;
  arguments.scale = 1;
  EXPECT_EQ(chunk_attention_workspace_bytes(arguments), 0u);
  launch_chunk_attention(arguments, nullptr);
  synchronize();
}

TEST(AttentionPlanOfAnH100, FewRowsOverManyKeysAreSplitAndManyRowsAreNot) {
  ChunkAttention arguments;
  arguments.num_query_heads = 28;
  arguments.num_kv_heads = 4;
  arguments.head_dim = 128;
  arguments.scale = 1;
  arguments.num_queries = 16;
  arguments.prefix.tokens.num_slots = 32768;
  EXPECT_GE(plan_attention(arguments, 132, false).num_splits, 30);
  arguments.num_queries = 2048;
  arguments.prefix.tokens.num_slots = 1200;
  EXPECT_EQ(plan_attention(arguments, 132, false).num_splits, 1);
  arguments.num_queries = 1;
  arguments.prefix.tokens.num_slots = 0;
  EXPECT_EQ(plan_attention(arguments, 132, false).num_splits, 1);
}

TEST(AttentionPlanOfAnH100, WarpgroupsAreUsedUnlessOthersAreAskedFor) {
  ChunkAttention arguments;
  arguments.num_query_heads = 28;
  arguments.num_kv_heads = 4;
  arguments.head_dim = 128;
  arguments.num_queries = 64;
  arguments.prefix.tokens.num_slots = 6144;
  const AttentionPlan plan = plan_attention(arguments, 132, true);
  EXPECT_TRUE(plan.uses_warpgroups);
  EXPECT_EQ(plan.num_row_tiles, 4u) << "448 rows, 128 each";
  EXPECT_EQ(plan.num_splits, 7) << "49 tiles of keys, 112 blocks of 132 at once";
  arguments.instructions = Instructions::mma_sync;
  EXPECT_FALSE(plan_attention(arguments, 132, true).uses_warpgroups);
}

}  // namespace
}  // namespace reprefill::kernels::test
