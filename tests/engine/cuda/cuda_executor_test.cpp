// The GPU executor against the CPU executor, which llama.cpp and transformers vouch for.
#include "engine/executor/cuda/cuda_executor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "engine/executor/cuda/gpu_views.hpp"
#include "tests/engine/executor/comparison.hpp"
#include "tests/engine/executor/executor_fixture.hpp"
#include "tests/support/test_gpu.hpp"

namespace reprefill::engine::test {
namespace {

using test_support::TinyCheckpoint;

// In units of the root mean square of what is compared. Activations are rounded to bf16 (2^-9 of themselves) a dozen
// times a layer; the largest of some thousand logits differs by 0.02 to 0.03 after two or three layers.
constexpr double kBf16Bound = 8e-2;
// Scores are sums over queries and heads of probabilities whose logits carry bf16 queries and keys.
constexpr double kScoreBound = 8e-2;

struct Case {
  const char* name;
  TinyCheckpoint shape;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const char* name, int query_heads, int kv_heads, int head_dim, auto&& change) {
    TinyCheckpoint shape;
    shape.num_query_heads = query_heads;
    shape.num_kv_heads = kv_heads;
    shape.head_dim = head_dim;
    shape.hidden = 96;
    shape.intermediate = 112;
    change(shape);
    all.push_back({name, shape});
  };
  add("two_to_one", 4, 2, 64, [](TinyCheckpoint&) {});
  add("seven_to_one_untied", 7, 1, 128, [](TinyCheckpoint& shape) { shape.tied = false; });
  add("three_to_one_fp32", 3, 1, 64, [](TinyCheckpoint& shape) { shape.type = ElementType::fp32; });
  add("one_to_one_fp16_yarn", 2, 2, 64, [](TinyCheckpoint& shape) {
    shape.type = ElementType::fp16;
    shape.max_positions = 64;
    shape.extra_config =
        Json{{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}}}};
  });
  return all;
}

std::uint32_t full_pages_of(const std::vector<std::uint32_t>& lengths) {
  std::vector<KvPage> pages;
  for (const std::uint32_t length : lengths) pages.push_back({.num_tokens = length});
  return full_page_tokens(pages);
}

TEST(FullPages, AreAsLongAsAllButTheLastPageCanBeFilledWith) {
  EXPECT_EQ(full_pages_of({6016}), 128u);  // 47 of them
  EXPECT_EQ(full_pages_of({100}), 100u);
  EXPECT_EQ(full_pages_of({64, 64, 64}), 64u);
  EXPECT_EQ(full_pages_of({128, 16, 48, 16}), 16u);  // runs of neighbouring chunks
  EXPECT_EQ(full_pages_of({16, 16, 7}), 16u);
  EXPECT_EQ(full_pages_of({6080, 192}), 95u);  // 64 * 95: the longest part of it that a page can hold
  EXPECT_EQ(full_pages_of({3, 1, 20}), 1u);    // scattered tokens
  EXPECT_EQ(full_pages_of({131, 5}), 1u);      // a prime beyond the longest page
}

class GpuModels : public testing::TestWithParam<Case> {
 protected:
  GpuModels() : model_(GetParam().shape), cpu_(model_.get(), {.num_threads = 2}) {}
  void SetUp() override {
    std::unique_ptr<Gpu> gpu = test_support::make_test_gpu();
    if (!gpu) GTEST_SKIP() << "no GPU";
    gpu_ = std::make_unique<CudaExecutor>(model_.get(), std::move(gpu));
  }
  const ModelGeometry& geometry() const { return model_.get().geometry(); }
  std::vector<std::int32_t> ids(std::size_t count) const { return random_ids(count, geometry().vocab); }
  std::vector<float> scores(Executor& executor, std::span<const std::int32_t> own, const StoredPrefix& prefix,
                            const ScoreShape& shape, std::size_t count) {
    const auto sequence = executor.begin(own, prefix.num_tokens());
    for (int layer = 0; layer < 2; ++layer) {
      executor.project(*sequence, layer, {0, sequence->num_own_tokens()});
      if (layer == 0) executor.attend(*sequence, 0, {0, sequence->num_own_tokens()}, prefix.view(0));
    }
    std::vector<float> out(count);
    executor.score(*sequence, 1, prefix.key_view(1, geometry().num_kv_heads), shape, out);
    executor.synchronize();
    return out;
  }

  OpenedCheckpoint model_;
  CpuExecutor cpu_;
  std::unique_ptr<CudaExecutor> gpu_;
};

TEST_P(GpuModels, LogitsAreThoseOfTheCpu) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{23}, std::size_t{70}}) {
    const auto tokens = ids(count);
    EXPECT_LT(relative_error(last_logits(*gpu_, *prefill(*gpu_, tokens)), last_logits(cpu_, *prefill(cpu_, tokens))),
              kBf16Bound)
        << count;
  }
}

TEST_P(GpuModels, AStoredPrefixInPagesOfAnySizeGivesThePlainPrefill) {
  const auto tokens = ids(150);
  const auto whole = prefill(*gpu_, tokens);
  const std::vector<float> expected = last_logits(*gpu_, *whole);
  for (const std::uint32_t stored : {16u, 131u, 149u}) {
    for (const std::uint32_t page : {1u, 16u, 48u, 149u}) {
      const StoredPrefix prefix(*gpu_, *whole, stored, page);
      const auto sequence =
          prefill(*gpu_, std::span(tokens).subspan(stored), prefix.views(geometry().num_layers), stored);
      EXPECT_LT(relative_error(last_logits(*gpu_, *sequence), expected), kBf16Bound) << stored << " " << page;
    }
  }
}

TEST_P(GpuModels, PrefillInBlocksGivesTheSame) {
  const auto tokens = ids(70);
  EXPECT_LT(relative_error(last_logits(*gpu_, *prefill(*gpu_, tokens, {}, 0, 17)),
                           last_logits(*gpu_, *prefill(*gpu_, tokens))),
            kBf16Bound);
}

TEST_P(GpuModels, MasksLeaveOutKeysAndValuesByHeadAsOnTheCpu) {
  const auto tokens = ids(60);
  const auto heads = static_cast<std::size_t>(geometry().num_kv_heads);
  std::vector<std::uint8_t> keep_k(heads * 40), keep_v(heads * 40);
  for (std::size_t i = 0; i < keep_k.size(); ++i) {
    keep_k[i] = combine64(7, i) % 4 != 0;
    keep_v[i] = combine64(8, i) % 3 != 0;
  }
  const auto run = [&](Executor& executor) {
    const auto whole = prefill(executor, std::span(tokens).first(40));
    const StoredPrefix prefix(executor, *whole, 40, 12);  // pages of 12, 12, 12 and 4 tokens
    std::vector<KvView> views = prefix.views(geometry().num_layers);
    for (KvView& view : views) {
      view.keep_k = keep_k;
      view.keep_v = keep_v;
    }
    return last_logits(executor, *prefill(executor, std::span(tokens).subspan(40), views, 40));
  };
  EXPECT_LT(relative_error(run(*gpu_), run(cpu_)), kBf16Bound);
}

TEST_P(GpuModels, ScatteredRunsOfTokensUnderMasksOrNotAreThoseOfTheCpu) {
  const auto tokens = ids(60);
  const auto heads = static_cast<std::size_t>(geometry().num_kv_heads);
  const std::vector<std::uint32_t> lengths = {1, 6, 2, 5};  // one is left out behind each
  const std::uint32_t num_kept = 14;
  std::vector<std::uint8_t> keep_v(heads * num_kept);
  for (std::size_t i = 0; i < keep_v.size(); ++i) keep_v[i] = combine64(9, i) % 3 != 0;
  for (const bool masked : {false, true}) {
    const auto run = [&](Executor& executor) {
      const auto whole = prefill(executor, std::span(tokens).first(40));
      const StoredPrefix prefix(executor, *whole, 40, 1);
      std::vector<std::vector<KvPage>> pages;
      std::vector<KvView> views;
      for (int layer = 0; layer < geometry().num_layers; ++layer) {
        std::vector<KvPage>& runs = pages.emplace_back();
        std::uint32_t token = 0;
        for (const std::uint32_t length : lengths) {
          const KvPage& first = prefix.view(layer).pages[token];
          runs.push_back({first.keys, first.values, length});
          token += length + 1;
        }
        views.push_back({.pages = runs, .num_tokens = num_kept});
        if (masked) views.back().keep_v = keep_v;
      }
      return last_logits(executor, *prefill(executor, std::span(tokens).subspan(40), views, 40));
    };
    EXPECT_LT(relative_error(run(*gpu_), run(cpu_)), kBf16Bound) << masked;
  }
}

TEST_P(GpuModels, ScoresOfEveryGroupingAndUnitAreThoseOfTheCpu) {
  const auto tokens = ids(90);
  const auto own = std::span(tokens).subspan(64);
  const StoredPrefix on_cpu(cpu_, *prefill(cpu_, std::span(tokens).first(64)), 64, 32);
  const StoredPrefix on_gpu(*gpu_, *prefill(*gpu_, std::span(tokens).first(64)), 64, 32);
  const auto heads = static_cast<std::size_t>(geometry().num_kv_heads);
  for (const std::uint32_t unit : {1u, 16u, 32u}) {
    for (const bool per_head : {false, true}) {
      const ScoreShape shape{.grouping = per_head ? traces::HeadGrouping::per_kv_head : traces::HeadGrouping::all_heads,
                             .unit_tokens = unit};
      const std::size_t count = (per_head ? heads : 1) * 64 / unit;
      EXPECT_LT(relative_error(scores(*gpu_, own, on_gpu, shape, count), scores(cpu_, own, on_cpu, shape, count)),
                kScoreBound)
          << unit << " " << per_head;
    }
  }
}

/// The host computes both from what each executor stored; rounding of queries and keys is what differs.
TEST_P(GpuModels, ScoresByDigestAreThoseOfTheCpu) {
  const auto tokens = ids(90);
  const auto own = std::span(tokens).subspan(64);
  const auto heads = static_cast<std::size_t>(geometry().num_kv_heads);
  for (const KeyDigest digest : {KeyDigest::mean, KeyDigest::minmax, KeyDigest::int4}) {
    for (const bool per_head : {false, true}) {
      const ScoreShape shape{.grouping = per_head ? traces::HeadGrouping::per_kv_head : traces::HeadGrouping::all_heads,
                             .unit_tokens = 16,
                             .digest = digest};
      const auto run = [&](Executor& executor) {
        const StoredPrefix prefix(executor, *prefill(executor, std::span(tokens).first(64)), 64, 64);
        const DigestShape stored = digest_shape(geometry(), KvType::bf16, shape);
        std::vector<std::byte> keys(64 * token_bytes(stored)), bytes(digest_bytes(stored, 64));
        const auto whole = prefill(executor, std::span(tokens).first(64));
        std::vector<std::byte> values(keys.size());
        executor.copy_own_kv(*whole, 1, {0, 64}, keys, values);
        executor.synchronize();
        make_digest(stored, keys, bytes);
        const std::shared_ptr<const std::byte> held = executor.upload(bytes);
        const KeyPage page{.keys = held.get(), .num_tokens = 64};
        const auto sequence = executor.begin(own, 64);
        for (int layer = 0; layer < 2; ++layer) {
          executor.project(*sequence, layer, {0, sequence->num_own_tokens()});
          if (layer == 0) executor.attend(*sequence, 0, {0, sequence->num_own_tokens()}, prefix.view(0));
        }
        std::vector<float> out((per_head ? heads : 1) * 4);
        executor.score(*sequence, 1, {.pages = {&page, 1}, .num_tokens = 64, .num_heads = geometry().num_kv_heads},
                       shape, out);
        executor.synchronize();
        return out;
      };
      EXPECT_LT(relative_error(run(*gpu_), run(cpu_)), kScoreBound) << enum_name(digest) << " " << per_head;
    }
  }
}

TEST_P(GpuModels, DecodingGoesOnWherePrefillEndedAlsoBeyondTheFirstCapacityAndAfterARewind) {
  const auto tokens = ids(150);
  const auto sequence = prefill(*gpu_, std::span(tokens).first(20));
  const std::vector<KvView> none(static_cast<std::size_t>(geometry().num_layers));
  std::vector<float> at_40, logits;
  for (std::uint32_t i = 20; i < 150; ++i) {
    logits = decode_logits(*gpu_, *sequence, tokens[i], none);
    if (i == 40) at_40 = logits;
  }
  EXPECT_LT(relative_error(logits, last_logits(cpu_, *prefill(cpu_, tokens))), kBf16Bound);
  gpu_->rewind(*sequence, 40);
  EXPECT_EQ(decode_logits(*gpu_, *sequence, tokens[40], none), at_40);
}

TEST_P(GpuModels, OwnKvStaysWhereItWasWhileDecodingMovesTheSequence) {
  const auto tokens = ids(150);
  const auto sequence = prefill(*gpu_, std::span(tokens).first(20));
  const OwnKvBytes kv = gpu_->own_kv(*sequence, 1, {4, 10});
  std::vector<std::byte> keys(kv.bytes.value), values(keys), held(keys);
  gpu_->copy_own_kv(*sequence, 1, {4, 10}, keys, values);
  const std::vector<KvView> none(static_cast<std::size_t>(geometry().num_layers));
  for (std::uint32_t i = 20; gpu_->own_kv(*sequence, 1, {4, 10}).keys == kv.keys; ++i) {
    ASSERT_LT(i, tokens.size()) << "the sequence never moved";
    decode_logits(*gpu_, *sequence, tokens[i], none);
  }
  prefill(*gpu_, std::span(tokens).first(20));  // would take the memory that was left
  gpu_->gpu()->copy(held.data(), kv.keys, kv.bytes, gpu_->stream());
  gpu_->synchronize();
  EXPECT_EQ(held, keys);
  gpu_->gpu()->copy(held.data(), kv.values, kv.bytes, gpu_->stream());
  gpu_->synchronize();
  EXPECT_EQ(held, values);
}

TEST_P(GpuModels, TheSameCallsGiveTheSameBits) {
  const auto tokens = ids(70);
  const std::vector<float> first = last_logits(*gpu_, *prefill(*gpu_, tokens));
  EXPECT_EQ(last_logits(*gpu_, *prefill(*gpu_, tokens)), first);
}

TEST_P(GpuModels, TwoRequestsDoNotDisturbEachOther) {
  const auto tokens = ids(50);
  const std::vector<float> alone = last_logits(*gpu_, *prefill(*gpu_, tokens));
  const auto first = gpu_->begin(tokens, 0);
  const auto second = gpu_->begin(std::span(tokens).subspan(10), 0);
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    gpu_->project(*first, layer, {0, 50});
    gpu_->project(*second, layer, {0, 40});
    gpu_->attend(*second, layer, {0, 40}, {});
    gpu_->attend(*first, layer, {0, 50}, {});
  }
  EXPECT_EQ(last_logits(*gpu_, *first), alone);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GpuModels, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

class GpuLimits : public testing::Test {
 protected:
  void SetUp() override {
    if (!test_support::make_test_gpu()) GTEST_SKIP() << "no GPU";
  }
};

TEST_F(GpuLimits, ShapesThatTheKernelsLackAreRefusedByName) {
  TinyCheckpoint shape;
  shape.head_dim = 32;
  const OpenedCheckpoint model(shape);
  EXPECT_THAT([&] { CudaExecutor(model.get(), test_support::make_test_gpu()); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("head_dim is 32")));
}

TEST_F(GpuLimits, TokensOutsideTheVocabularyAndCallsOutOfOrderAreRefused) {
  TinyCheckpoint shape;
  shape.head_dim = 64;
  const OpenedCheckpoint model(shape);
  CudaExecutor executor(model.get(), test_support::make_test_gpu());
  const std::vector<std::int32_t> outside = {0, model.get().geometry().vocab};
  EXPECT_THROW(executor.begin(outside, 0), ConfigError);
  EXPECT_THROW(executor.begin({}, 0), ConfigError);
  const std::vector<std::int32_t> ids = {1, 2};
  const auto sequence = executor.begin(ids, 0);
  EXPECT_THROW(executor.attend(*sequence, 0, {0, 2}, {}), InvariantError);
  std::int32_t id = 0;
  EXPECT_THROW(executor.next_token(*sequence, id), InvariantError);
}

}  // namespace
}  // namespace reprefill::engine::test
