// Decoders other than Qwen2: the simulator needs their shapes only.
#include <fstream>

#include <gmock/gmock.h>

#include "core/model/costs.hpp"
#include "core/model/geometry.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// Parameters as the publishers count them (model cards; safetensors totals on Hugging Face), in millions.
struct Published {
  const char* name;
  std::uint64_t params_millions;
  std::uint64_t kv_bytes_token;
};
void PrintTo(const Published& model, std::ostream* out) { *out << model.name; }

class PublishedFamily : public testing::TestWithParam<Published> {
 protected:
  static ModelGeometry shipped() {
    return read_model_config(test_support::source_folder() / "scenarios/models" /
                             (std::string(GetParam().name) + ".json"));
  }
};

TEST_P(PublishedFamily, HasAsManyParametersAndKvBytesAsPublished) {
  const ModelGeometry geometry = shipped();
  EXPECT_EQ((geometry.params() + 500'000) / 1'000'000, GetParam().params_millions);
  EXPECT_EQ(geometry.kv_bytes_per_token(), Bytes{GetParam().kv_bytes_token});
}

INSTANTIATE_TEST_SUITE_P(
    Shipped, PublishedFamily,
    testing::Values(Published{"opt-6.7b", 6658, 512 * 1024}, Published{"opt-13b", 12853, 800 * 1024},
                    Published{"opt-30b", 29975, 1344 * 1024}, Published{"llama-2-7b", 6738, 512 * 1024},
                    Published{"llama-2-13b", 13016, 800 * 1024}, Published{"llama-3-8b", 8030, 128 * 1024},
                    Published{"llama-3-70b", 70554, 320 * 1024}, Published{"mistral-7b-v0.3", 7248, 128 * 1024},
                    Published{"qwen3-8b", 8191, 144 * 1024}, Published{"phi-3-mini-128k", 3821, 384 * 1024},
                    Published{"phi-2", 2780, 320 * 1024}));

class FamilyConfig : public testing::Test {
 protected:
  ModelGeometry read(const Json& changes) {
    Json config = {{"model_type", "llama"},        {"num_hidden_layers", 2},         {"hidden_size", 64},
                   {"num_attention_heads", 4},     {"intermediate_size", 96},        {"vocab_size", 100},
                   {"tie_word_embeddings", false}, {"max_position_embeddings", 2048}};
    config.update(changes);
    std::ofstream(folder_ / "config.json") << config.dump();
    return read_model_config(folder_ / "config.json");
  }
  void expect_refused(const Json& changes, const std::string& message) {
    EXPECT_THAT([&] { read(changes); }, ThrowsMessage<ConfigError>(HasSubstr(message)));
  }
  test_support::TemporaryFolder folder_;
};

TEST_F(FamilyConfig, WithoutKvHeadsEveryQueryHeadHasItsOwn) { EXPECT_EQ(read(Json::object()).num_kv_heads, 4); }

TEST_F(FamilyConfig, AMistralWindowCountsOnlyWhereItIsShorterThanTheContext) {
  EXPECT_EQ(read({{"model_type", "mistral"}, {"sliding_window", nullptr}}).family, "mistral");
  EXPECT_EQ(read({{"model_type", "mistral"}, {"sliding_window", 2048}}).family, "mistral");
  expect_refused({{"model_type", "mistral"}, {"sliding_window", 1024}}, "sliding_window");
}

TEST_F(FamilyConfig, SwitchesOfBiasesCount) {
  const std::uint64_t plain = read(Json::object()).params_per_layer();
  EXPECT_EQ(read({{"attention_bias", true}}).params_per_layer(), plain + 3 * 64);
  EXPECT_EQ(read({{"mlp_bias", true}}).params_per_layer(), plain + 64 + 2 * 96 + 64);
}

TEST_F(FamilyConfig, AnOptHasTwoMatricesInItsMlp) {
  const ModelGeometry opt = read({{"model_type", "opt"}, {"ffn_dim", 96}, {"tie_word_embeddings", nullptr}});
  EXPECT_TRUE(opt.tied_embeddings);
  EXPECT_EQ(opt.position_rows, 2050);
  const double flops = OperationCosts(opt).attend_linear(1).flops;
  EXPECT_EQ(flops, 2.0 * (64 * 64 + 2 * 64 * 96));
  expect_refused({{"model_type", "opt"}, {"ffn_dim", 96}, {"word_embed_proj_dim", 32}}, "word_embed_proj_dim");
}

TEST_F(FamilyConfig, OtherFamiliesAreRefusedWithTheKnownOnes) {
  expect_refused({{"model_type", "gpt_neox"}}, "qwen2");
  expect_refused({{"model_type", "mistrl"}}, "did you mean mistral");
}

}  // namespace
}  // namespace reprefill
