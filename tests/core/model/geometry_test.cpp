#include "core/model/geometry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/core/model/model_fixture.hpp"

namespace reprefill {
namespace {

using test_support::qwen_0_5b;
using test_support::qwen_7b;
using test_support::tiny_model;

TEST(ModelGeometry, KvBytesFollowFromKvHeadsNotQueryHeads) {
  const ModelGeometry geometry = qwen_7b();
  EXPECT_EQ(geometry.kv_tensor_bytes_per_token_layer(), Bytes{1024});  // 4 heads x 128 x 2 B
  EXPECT_EQ(geometry.kv_bytes_per_token(), Bytes{57'344});             // 56 KiB
}

TEST(ModelGeometry, SixteenAndSixtyFourTokenObjectsHaveTheSizesOfReference11) {
  const Bytes k = qwen_7b().kv_tensor_bytes_per_token_layer();
  EXPECT_EQ(16 * k, Bytes{16 * 1024});
  EXPECT_EQ(2 * (16 * k), Bytes{32 * 1024});
  EXPECT_EQ(64 * k, Bytes{64 * 1024});
  EXPECT_EQ(28 * (16 * k), Bytes{448 * 1024});  // the paper's "448 KB a chunk" is one tensor (reference 1.2)
  EXPECT_EQ(6011 * qwen_7b().kv_bytes_per_token(), Bytes{344'694'784});  // 344.7 MB
}

TEST(ModelGeometry, ParametersAreCountedByHandForATinyModel) {
  // One layer: QKV 32 x (32 + 16 + 16) = 2048, their bias 64, output 32 x 32 = 1024, MLP 3 x 32 x 48 = 4608,
  // two norms 64: 7808. Three layers and the final norm (32): 23456. The embedding: 100 x 32 = 3200.
  ModelGeometry geometry = tiny_model();
  EXPECT_EQ(geometry.params_per_layer(), 7808u);
  EXPECT_EQ(geometry.non_embedding_params(), 23'456u);
  EXPECT_EQ(geometry.embedding_params(), 3200u);
  EXPECT_EQ(geometry.params(), 23'456u + 2 * 3200u);
  EXPECT_EQ(geometry.layer_weight_bytes(), Bytes{2 * 7808});
  EXPECT_EQ(geometry.lm_head_bytes(), Bytes{6400});
  EXPECT_EQ(geometry.weight_bytes(), Bytes{2 * (23'456 + 6400)});
  geometry.tied_embeddings = true;
  EXPECT_EQ(geometry.params(), 23'456u + 3200u);
}

TEST(ModelGeometry, QueryHeadsZeroOneTwoOfQwen7BTouchOneOfFourKvHeads) {
  const std::vector<int> published = {0, 1, 2};
  EXPECT_EQ(qwen_7b().num_probed_kv_heads(published), 1);
}

TEST(ModelGeometry, OneProbeHeadPerGroupTouchesEveryKvHead) {
  const std::vector<int> one_per_group = {0, 7, 14, 21};
  EXPECT_EQ(qwen_7b().num_probed_kv_heads(one_per_group), 4);
}

TEST(ModelGeometry, ProbeHeadsAtAGroupBorderTouchBothGroups) {
  const std::vector<int> border = {6, 7};
  EXPECT_EQ(qwen_7b().num_probed_kv_heads(border), 2);
  const std::vector<int> last = {27};
  EXPECT_EQ(qwen_7b().num_probed_kv_heads(last), 1);
  EXPECT_EQ(qwen_7b().num_probed_kv_heads({}), 0);
}

TEST(ModelGeometry, AProbeHeadThatTheModelDoesNotHaveIsRefused) {
  for (const int head : {-1, 28}) {
    const std::vector<int> heads = {0, head};
    EXPECT_THAT([&] { (void)qwen_7b().num_probed_kv_heads(heads); },
                testing::ThrowsMessage<ConfigError>(
                    testing::AllOf(testing::HasSubstr(fmt::format("found {}", head)), testing::HasSubstr("0 to 27"))));
  }
}

TEST(ModelGeometry, ResolvedModelNamesEverythingThatDecidesAResult) {
  const Json json = write_model(qwen_0_5b());
  EXPECT_EQ(json.at("name"), "qwen2.5-0.5b");
  EXPECT_EQ(json.at("num_kv_heads"), 2);
  EXPECT_EQ(json.at("tied_embeddings"), true);
  EXPECT_EQ(json.at("kv_element_bytes"), 2);
  EXPECT_EQ(json.at("family"), "qwen2");
  EXPECT_EQ(json.at("mlp_matrices"), 3);
  EXPECT_EQ(json.size(), 14u);
}

}  // namespace
}  // namespace reprefill
