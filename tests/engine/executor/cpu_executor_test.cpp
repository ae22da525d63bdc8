#include "engine/executor/cpu/cpu_executor.hpp"

#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/engine/executor/comparison.hpp"
#include "tests/engine/executor/executor_fixture.hpp"
#include "tests/engine/executor/reference_decoder.hpp"

namespace reprefill::engine::test {
namespace {

using test_support::TinyCheckpoint;

// fp32 against double through two or three layers: each operation loses about 1e-6, the head sums what is left.
constexpr double kFp32Bound = 1e-4;
// The reference rounds K and V to bf16 from double, the executor from fp32: a value that lies on a tie for one and not
// the other differs by 2^-8 of itself. One in about 2^16 / 10 does; each moves one token's weight in one head.
constexpr double kBf16Bound = 1e-2;
// A row alone sums its products in another order.
constexpr double kRowBound = 2e-5;

struct Case {
  const char* name;
  TinyCheckpoint shape;
};

Json yarn() {
  return Json{{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}}}};
}

std::vector<Case> cases() {
  TinyCheckpoint base;
  std::vector<Case> all = {{"small", base}};
  TinyCheckpoint shape = base;
  shape.num_query_heads = 7;
  shape.num_kv_heads = 1;
  shape.head_dim = 64;
  shape.hidden = 448;
  shape.tied = false;
  all.push_back({"seven_to_one_untied", shape});
  shape = base;
  shape.num_query_heads = 4;
  shape.num_kv_heads = 2;
  shape.head_dim = 128;
  shape.hidden = 96;
  shape.type = ElementType::fp16;
  all.push_back({"wide_heads_fp16", shape});
  shape = base;
  shape.num_query_heads = 3;
  shape.num_kv_heads = 1;
  shape.head_dim = 64;
  shape.hidden = 192;
  shape.type = ElementType::fp32;
  shape.vocab = 301;
  all.push_back({"three_to_one_fp32", shape});
  shape = base;
  shape.num_query_heads = 2;
  shape.num_kv_heads = 2;
  shape.head_dim = 64;
  shape.hidden = 128;
  shape.max_positions = 64;
  shape.extra_config = yarn();
  all.push_back({"one_to_one_yarn", shape});
  return all;
}

class Models : public testing::TestWithParam<Case> {
 protected:
  Models() : model_(GetParam().shape) {}
  CpuExecutor make(KvType type = KvType::bf16, int threads = 2) const {
    return CpuExecutor(model_.get(), {.num_threads = threads, .kv_type = type});
  }
  std::vector<std::int32_t> ids(std::size_t count) const { return random_ids(count, model_.get().geometry().vocab); }
  int num_layers() const { return model_.get().geometry().num_layers; }
  std::size_t vocab() const { return static_cast<std::size_t>(model_.get().geometry().vocab); }

  OpenedCheckpoint model_;
};

std::vector<double> flatten(const std::vector<std::vector<double>>& rows) {
  std::vector<double> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

/// Stored bytes as the reference takes them.
std::vector<PlainPrefix> plain_prefix(const StoredPrefix& prefix, int num_layers, KvType type) {
  const auto numbers = [&](const std::vector<std::byte>& bytes) {
    std::vector<double> values;
    for (std::size_t at = 0; at < bytes.size(); at += bytes_per_element(type)) {
      float value = 0;
      std::uint16_t bits = 0;
      std::memcpy(type == KvType::bf16 ? static_cast<void*>(&bits) : &value, bytes.data() + at,
                  bytes_per_element(type));
      values.push_back(static_cast<double>(type == KvType::bf16 ? BFloat16{bits}.widen() : value));
    }
    return values;
  };
  std::vector<PlainPrefix> plain;
  for (int layer = 0; layer < num_layers; ++layer) {
    plain.push_back({numbers(prefix.keys(layer)), numbers(prefix.values(layer)), {}, {}});
  }
  return plain;
}

TEST_P(Models, LogitsOfEveryTokenEqualThePlainForwardPass) {
  const auto tokens = ids(41);
  for (const KvType type : {KvType::fp32, KvType::bf16}) {
    CpuExecutor executor = make(type);
    const auto sequence = prefill(executor, tokens);
    const double error = relative_error(all_logits(executor, *sequence, {0, 41}),
                                        flatten(plain_forward(model_.get(), type, tokens, 0, {}).logits));
    EXPECT_LT(error, type == KvType::fp32 ? kFp32Bound : kBf16Bound);
    RecordProperty(type == KvType::fp32 ? "error_fp32" : "error_bf16", std::to_string(error));
  }
}

TEST_P(Models, BrokenForwardPassesAreBeyondTheBound) {
  const auto tokens = ids(20);
  const auto right = flatten(plain_forward(model_.get(), KvType::fp32, tokens, 0, {}).logits);
  for (const Fault& fault : {Fault{.scale_factor = 1.01}, Fault{.sees_own_future = true}}) {
    EXPECT_GT(relative_error(flatten(plain_forward(model_.get(), KvType::fp32, tokens, 0, {}, fault).logits), right),
              2 * kFp32Bound);
  }
}

TEST_P(Models, AMaskedPrefixIsAttendedAsThePlainForwardPassDoes) {
  const auto tokens = ids(60);
  CpuExecutor executor = make(KvType::fp32);
  const auto whole = prefill(executor, tokens);
  const StoredPrefix prefix(executor, *whole, 48, 16);
  std::vector<PlainPrefix> plain = plain_prefix(prefix, num_layers(), KvType::fp32);
  std::vector<KvView> views = prefix.views(num_layers());
  RandomStream random(5, 0, "masks");
  for (std::size_t layer = 0; layer < views.size(); ++layer) {
    const std::size_t count = 48 * static_cast<std::size_t>(model_.get().geometry().num_kv_heads);
    for (std::size_t i = 0; i < count; ++i) {
      plain[layer].keep_k.push_back(random.uniform() < 0.5);
      plain[layer].keep_v.push_back(random.uniform() < 0.5);
    }
    views[layer].keep_k = plain[layer].keep_k;
    views[layer].keep_v = plain[layer].keep_v;
  }
  const std::span<const std::int32_t> suffix = std::span(tokens).subspan(48);
  const auto sequence = prefill(executor, suffix, views, 48);
  const auto expected = flatten(plain_forward(model_.get(), KvType::fp32, suffix, 48, plain).logits);
  EXPECT_LT(relative_error(all_logits(executor, *sequence, {0, 12}), expected), kFp32Bound);
  const auto unmasked =
      flatten(plain_forward(model_.get(), KvType::fp32, suffix, 48, plain, {.ignores_masks = true}).logits);
  EXPECT_GT(relative_error(unmasked, expected), 20 * kFp32Bound);
}

TEST_P(Models, PrefillInBlocksEqualsPrefillInOneGoBitForBit) {
  const auto tokens = ids(61);
  CpuExecutor executor = make();
  const auto whole = prefill(executor, tokens);
  const auto expected = all_logits(executor, *whole, {0, 61});
  for (const std::uint32_t block : {1u, 7u, 16u, 60u}) {
    const auto sequence = prefill(executor, tokens, {}, 0, block);
    EXPECT_EQ(all_logits(executor, *sequence, {0, 61}), expected) << block;
    EXPECT_EQ(last_logits(executor, *sequence), last_logits(executor, *whole)) << block;
  }
}

TEST_P(Models, RePrefillWithTheWholePrefixEqualsPlainPrefillBitForBit) {
  const auto tokens = ids(61);
  for (const KvType type : {KvType::bf16, KvType::fp32}) {
    CpuExecutor executor = make(type);
    const auto whole = prefill(executor, tokens);
    for (const std::uint32_t stored : {1u, 16u, 48u, 60u}) {
      const StoredPrefix prefix(executor, *whole, stored, 16);
      const auto sequence = prefill(executor, std::span(tokens).subspan(stored), prefix.views(num_layers()), stored);
      EXPECT_EQ(all_logits(executor, *sequence, {0, 61 - stored}), all_logits(executor, *whole, {stored, 61 - stored}))
          << stored;
      EXPECT_EQ(last_logits(executor, *sequence), last_logits(executor, *whole)) << stored;
    }
  }
}

TEST_P(Models, DecodingEqualsPrefillOfTheLongerText) {
  const auto tokens = ids(50);
  CpuExecutor executor = make(KvType::fp32);
  const auto whole = prefill(executor, tokens);
  const StoredPrefix prefix(executor, *whole, 32, 16);
  const auto views = prefix.views(num_layers());
  const auto sequence = prefill(executor, std::span(tokens).subspan(32, 8), views, 32);
  for (std::uint32_t token = 40; token < 50; ++token) {
    const std::vector<float> logits = decode_logits(executor, *sequence, tokens[token], views);
    EXPECT_LT(relative_error(logits, all_logits(executor, *whole, {token, 1})), kFp32Bound) << token;
    EXPECT_EQ(logits, last_logits(executor, *sequence));
  }
  EXPECT_EQ(sequence->num_own_tokens(), 18u);
}

TEST_P(Models, ScoresAreColumnSumsOfTheForwardPassInEveryGrouping) {
  const auto tokens = ids(50);
  CpuExecutor executor = make(KvType::fp32);
  const ModelGeometry& geometry = model_.get().geometry();
  const auto whole = prefill(executor, tokens);
  const StoredPrefix prefix(executor, *whole, 40, 16);
  const auto plain = plain_prefix(prefix, num_layers(), KvType::fp32);
  const std::span<const std::int32_t> suffix = std::span(tokens).subspan(40);
  const PlainForward expected = plain_forward(model_.get(), KvType::fp32, suffix, 40, plain);
  const auto sequence = executor.begin(suffix, 40);
  executor.project(*sequence, 0, {0, 10});
  executor.attend(*sequence, 0, {0, 10}, prefix.view(0));
  executor.project(*sequence, 1, {0, 10});
  const auto kv_heads = static_cast<std::size_t>(geometry.num_kv_heads);
  std::vector<double> per_head(kv_heads * 40), all(40);
  for (int head = 0; head < geometry.num_query_heads; ++head) {
    const std::vector<double> sums = expected.layers[1].column_sums(head);
    for (std::size_t i = 0; i < 40; ++i) {
      per_head[static_cast<std::size_t>(head / geometry.group_size()) * 40 + i] += sums[i];
      all[i] += sums[i];
    }
  }
  const KeyView keys = prefix.key_view(1, geometry.num_kv_heads);
  std::vector<float> scores(40);
  executor.score(*sequence, 1, keys, {.grouping = traces::HeadGrouping::all_heads}, scores);
  EXPECT_LT(relative_error(scores, all), kFp32Bound);
  std::vector<float> units(10);
  std::vector<double> of_units(10);
  for (std::size_t i = 0; i < 40; ++i) of_units[i / 4] += all[i];
  executor.score(*sequence, 1, keys, {.grouping = traces::HeadGrouping::all_heads, .unit_tokens = 4}, units);
  EXPECT_LT(relative_error(units, of_units), kFp32Bound);
  EXPECT_THROW(executor.score(*sequence, 1, keys, {.unit_tokens = 3}, units), InvariantError);
  scores.resize(kv_heads * 40);
  executor.score(*sequence, 1, keys, {.grouping = traces::HeadGrouping::per_kv_head}, scores);
  EXPECT_LT(relative_error(scores, per_head), kFp32Bound);
  if (geometry.num_kv_heads != 1) return;  // else the whole pages are the probed heads' slab
  const std::vector<int> probed = {2, 0};
  scores.resize(2 * 40);
  executor.score(*sequence, 1, keys, {.grouping = traces::HeadGrouping::probe_heads, .probe_heads = probed}, scores);
  std::vector<double> of_probed = expected.layers[1].column_sums(2);
  const std::vector<double> of_first = expected.layers[1].column_sums(0);
  of_probed.insert(of_probed.end(), of_first.begin(), of_first.end());
  EXPECT_LT(relative_error(scores, of_probed), kFp32Bound);
}

TEST_P(Models, RunsAndThreadsAndCachesChangeNoBit) {
  const auto tokens = ids(70);
  CpuExecutor first = make(KvType::bf16, 1);
  const auto expected = all_logits(first, *prefill(first, tokens), {0, 70});
  EXPECT_EQ(all_logits(first, *prefill(first, tokens), {0, 70}), expected);
  for (const int threads : {2, 4, 7}) {
    CpuExecutor executor = make(KvType::bf16, threads);
    EXPECT_EQ(all_logits(executor, *prefill(executor, tokens), {0, 70}), expected) << threads;
  }
  for (const std::uint64_t cache : {std::uint64_t{0}, std::uint64_t{100'000}}) {
    CpuExecutor executor(model_.get(), {.num_threads = 2, .weight_cache = Bytes{cache}});
    EXPECT_EQ(all_logits(executor, *prefill(executor, tokens), {0, 70}), expected) << cache;
  }
}

TEST_P(Models, TheLastTokensLogitsAreThoseOfItsRange) {
  const auto tokens = ids(9);
  CpuExecutor executor = make();
  const auto sequence = prefill(executor, tokens);
  EXPECT_LT(relative_error(last_logits(executor, *sequence), all_logits(executor, *sequence, {8, 1})), kRowBound);
}

TEST_P(Models, ProjectingAgainChangesNothing) {
  const auto tokens = ids(20);
  CpuExecutor executor = make();
  const auto expected = last_logits(executor, *prefill(executor, tokens));
  const auto sequence = executor.begin(tokens, 0);
  for (int layer = 0; layer < num_layers(); ++layer) {
    executor.project(*sequence, layer, {0, 20});
    executor.project(*sequence, layer, {0, 20});  // scoring on the prototype path repeats it
    executor.attend(*sequence, layer, {0, 20}, {});
  }
  EXPECT_EQ(last_logits(executor, *sequence), expected);
}

INSTANTIATE_TEST_SUITE_P(Tiny, Models, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

class SmallModel : public testing::Test {
 protected:
  SmallModel() : model_(TinyCheckpoint{}), executor_(model_.get(), {.num_threads = 2}) {}
  OpenedCheckpoint model_;
  CpuExecutor executor_;
};

TEST_F(SmallModel, LongRangesGoThroughInBlocksWithTheSameBits) {
  const auto tokens = random_ids(2100, 128);
  const auto whole = prefill(executor_, tokens, {}, 0, 2100);
  const auto blocks = prefill(executor_, tokens, {}, 0, 512);
  EXPECT_EQ(all_logits(executor_, *whole, {2000, 100}), all_logits(executor_, *blocks, {2000, 100}));
  EXPECT_EQ(all_logits(executor_, *whole, {0, 2100}), all_logits(executor_, *blocks, {0, 2100}));
}

TEST_F(SmallModel, RequestsCanInterleave) {
  const auto first_ids = random_ids(20, 128, 1);
  const auto second_ids = random_ids(30, 128, 2);
  const auto first_alone = last_logits(executor_, *prefill(executor_, first_ids));
  const auto second_alone = last_logits(executor_, *prefill(executor_, second_ids));
  const auto first = executor_.begin(first_ids, 0);
  const auto second = executor_.begin(second_ids, 0);
  for (int layer = 0; layer < 2; ++layer) {
    executor_.project(*first, layer, {0, 20});
    executor_.project(*second, layer, {0, 30});
    executor_.attend(*first, layer, {0, 20}, {});
    executor_.attend(*second, layer, {0, 30}, {});
  }
  EXPECT_EQ(last_logits(executor_, *first), first_alone);
  EXPECT_EQ(last_logits(executor_, *second), second_alone);
}

TEST_F(SmallModel, OneTokenIsAPrompt) {
  const std::vector<std::int32_t> one = {5};
  const auto sequence = prefill(executor_, one);
  const auto expected = plain_forward(model_.get(), KvType::bf16, one, 0, {}).logits.front();
  EXPECT_LT(relative_error(last_logits(executor_, *sequence), expected), kBf16Bound);
}

TEST_F(SmallModel, IdsOutsideTheVocabularyAreRefusedWithTheNumbers) {
  for (const std::int32_t id : {-1, 128}) {
    const std::vector<std::int32_t> ids = {0, id};
    try {
      executor_.begin(ids, 0);
      FAIL() << id;
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(id)));
      EXPECT_THAT(error.what(), testing::HasSubstr("0 to 127"));
    }
  }
  EXPECT_THROW(executor_.begin({}, 0), ConfigError);
}

TEST_F(SmallModel, PositionsBeyondTheLimitAreRefusedWithTheNumbers) {
  const std::vector<std::int32_t> ids = {0, 1};
  EXPECT_NO_THROW(executor_.begin(ids, 4094));
  try {
    executor_.begin(ids, 4095);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("4097"), testing::HasSubstr("4096")));
  }
  EXPECT_THROW(executor_.begin(ids, 0xffffffffu), ConfigError);
  const std::vector<std::int32_t> last = {1};
  const auto sequence = prefill(executor_, last, {}, 4095);
  std::int32_t next_id = -1;
  EXPECT_THROW(executor_.decode(*sequence, 0, std::vector<KvView>(2), next_id), ConfigError);
  EXPECT_EQ(sequence->num_own_tokens(), 1u);  // and nothing was added
}

TEST_F(SmallModel, CallsOutOfOrderAreRefused) {
  const std::vector<std::int32_t> ids = {0, 1, 2, 3};
  const auto sequence = executor_.begin(ids, 0);
  std::int32_t id = -1;
  EXPECT_THROW(executor_.attend(*sequence, 0, {0, 4}, {}), InvariantError);
  EXPECT_THROW(executor_.project(*sequence, 1, {0, 4}), InvariantError);
  EXPECT_THROW(executor_.project(*sequence, 0, {2, 3}), InvariantError);
  EXPECT_THROW(executor_.next_token(*sequence, id), InvariantError);
  executor_.project(*sequence, 0, {2, 2});
  EXPECT_THROW(executor_.attend(*sequence, 0, {2, 2}, {}), InvariantError);  // earlier tokens have no K and V yet
  EXPECT_THROW(executor_.score(*sequence, 0, {.pages = {}, .num_tokens = 0, .num_heads = 2}, {}, {}), InvariantError);
  executor_.project(*sequence, 0, {0, 2});
  executor_.attend(*sequence, 0, {0, 4}, {});
  EXPECT_THROW(executor_.attend(*sequence, 0, {0, 4}, {}), InvariantError);
  EXPECT_THROW(executor_.project(*sequence, 0, {0, 4}), InvariantError);
  const KvPage page = {.keys = nullptr, .values = nullptr, .num_tokens = 1};
  executor_.project(*sequence, 1, {0, 4});
  EXPECT_THROW(executor_.attend(*sequence, 1, {0, 4}, {.pages = {&page, 1}, .num_tokens = 1}), InvariantError);
}

TEST_F(SmallModel, OwnKvIsWhatAttentionReads) {
  const auto ids = random_ids(6, 128);
  const auto sequence = prefill(executor_, ids);
  const PlainForward expected = plain_forward(model_.get(), KvType::bf16, ids, 0, {});
  std::vector<std::byte> keys(2 * 2 * 16 * 2), values(keys.size());
  executor_.copy_own_kv(*sequence, 1, {3, 2}, keys, values);
  for (std::size_t i = 0; i < 2 * 2 * 16; ++i) {
    BFloat16 key, value;
    std::memcpy(&key.bits, keys.data() + 2 * i, 2);
    std::memcpy(&value.bits, values.data() + 2 * i, 2);
    EXPECT_NEAR(static_cast<double>(key.widen()), expected.layers[1].own_keys[3 * 32 + i], 0.02);
    EXPECT_NEAR(static_cast<double>(value.widen()), expected.layers[1].own_values[3 * 32 + i], 0.02);
  }
}

TEST(Argmax, PrefersTheLowerIdAndRefusesNotANumber) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-5}), 0);
  EXPECT_EQ(argmax(std::vector<float>{-INFINITY, -INFINITY}), 0);
  EXPECT_THROW(argmax(std::vector<float>{1, std::nanf("")}), InvariantError);
  EXPECT_THROW(argmax(std::vector<float>{std::nanf(""), 1}), InvariantError);
}

}  // namespace
}  // namespace reprefill::engine::test
