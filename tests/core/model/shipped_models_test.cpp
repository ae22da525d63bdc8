// The project's own scenarios/models against the table of reference 1.1 and against the published files.
#include <cmath>

#include <gtest/gtest.h>

#include "core/model/geometry.hpp"
#include "tests/support/shared_data.hpp"

namespace reprefill {
namespace {

/// A row of reference 1.1; parameters in thousandths of 10^9, as printed there.
struct Row {
  const char* name;
  const char* published;
  int layers, hidden, heads, kv_heads, head_dim, intermediate, vocab;
  bool tied;
  std::uint64_t params_millions, non_embedding_millions;
  std::uint64_t k_bytes_token_layer, kv_bytes_token;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

constexpr Row kRows[] = {
    {"qwen2.5-0.5b", "Qwen2.5-0.5B-Instruct", 24, 896, 14, 2, 64, 4864, 151936, true, 494, 358, 256, 12'288},
    {"qwen2.5-1.5b", "Qwen2.5-1.5B-Instruct", 28, 1536, 12, 2, 128, 8960, 151936, true, 1544, 1310, 512, 28'672},
    {"qwen2.5-3b", "Qwen2.5-3B-Instruct", 36, 2048, 16, 2, 128, 11008, 151936, true, 3086, 2775, 512, 36'864},
    {"qwen2.5-7b", "Qwen2.5-7B-Instruct", 28, 3584, 28, 4, 128, 18944, 152064, false, 7616, 6526, 1024, 57'344},
    {"qwen2.5-14b", "Qwen2.5-14B-Instruct", 48, 5120, 40, 8, 128, 13824, 152064, false, 14770, 13213, 2048, 196'608},
    {"qwen2.5-32b", "Qwen2.5-32B-Instruct", 64, 5120, 40, 8, 128, 27648, 152064, false, 32764, 31207, 2048, 262'144},
    {"qwen2.5-72b", "Qwen2.5-72B-Instruct", 80, 8192, 64, 8, 128, 29568, 152064, false, 72706, 70215, 2048, 327'680},
};

std::uint64_t rounded_millions(std::uint64_t params) { return (params + 500'000) / 1'000'000; }

class ShippedModel : public testing::TestWithParam<Row> {
 protected:
  static ModelGeometry shipped() {
    return read_model_config(test_support::source_folder() / "scenarios/models" /
                             (std::string(GetParam().name) + ".json"));
  }
};

TEST_P(ShippedModel, HasTheShapeBytesAndParametersOfReference11) {
  const Row& row = GetParam();
  const ModelGeometry geometry = shipped();
  EXPECT_EQ(geometry.name, row.name);
  EXPECT_EQ(geometry.num_layers, row.layers);
  EXPECT_EQ(geometry.hidden, row.hidden);
  EXPECT_EQ(geometry.num_query_heads, row.heads);
  EXPECT_EQ(geometry.num_kv_heads, row.kv_heads);
  EXPECT_EQ(geometry.head_dim, row.head_dim);
  EXPECT_EQ(geometry.intermediate, row.intermediate);
  EXPECT_EQ(geometry.vocab, row.vocab);
  EXPECT_EQ(geometry.tied_embeddings, row.tied);
  EXPECT_EQ(rounded_millions(geometry.params()), row.params_millions);
  EXPECT_EQ(rounded_millions(geometry.non_embedding_params()), row.non_embedding_millions);
  EXPECT_EQ(geometry.kv_tensor_bytes_per_token_layer(), Bytes{row.k_bytes_token_layer});
  EXPECT_EQ(geometry.kv_bytes_per_token(), Bytes{row.kv_bytes_token});
}

TEST_P(ShippedModel, SaysWhereItsNumbersComeFrom) {
  const auto file = test_support::source_folder() / "scenarios/models" / (std::string(GetParam().name) + ".json");
  EXPECT_FALSE(read_json_file(file).at("source").get<std::string>().empty());
}

TEST_P(ShippedModel, EqualsThePublishedConfiguration) {
  const auto qwen = test_support::find_qwen_folder();
  if (!qwen) GTEST_SKIP() << test_support::kNoQwenFolder;
  ModelGeometry published = read_model_config(*qwen / "configs" / GetParam().published / "config.json");
  EXPECT_EQ(published.name, GetParam().published);
  published.name = GetParam().name;
  EXPECT_EQ(write_model(shipped()), write_model(published));
}

INSTANTIATE_TEST_SUITE_P(AllSizes, ShippedModel, testing::ValuesIn(kRows), [](const auto& tested) {
  std::string name = tested.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
});

TEST(PublishedConfigurations, TheBaseModelsAreReadToo) {
  const auto qwen = test_support::find_qwen_folder();
  if (!qwen) GTEST_SKIP() << test_support::kNoQwenFolder;
  const ModelGeometry base = read_model_config(*qwen / "configs/Qwen2.5-7B/config.json");
  EXPECT_EQ(base.num_layers, 28);
  EXPECT_EQ(base.max_position_embeddings, 131'072);
  EXPECT_EQ(read_model_config(*qwen / "configs/Qwen2.5-1.5B/config.json").kv_bytes_per_token(), Bytes{28'672});
}

}  // namespace
}  // namespace reprefill
