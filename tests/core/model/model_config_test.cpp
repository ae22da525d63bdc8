// Reading config.json: what is accepted, and what each refusal says.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/model/geometry.hpp"

namespace reprefill {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// The keys of a published Qwen2.5 configuration that the reader looks at, and the traps that it must not fall into.
Json published() {
  return {{"architectures", {"Qwen2ForCausalLM"}},
          {"hidden_size", 1536},
          {"intermediate_size", 8960},
          {"max_position_embeddings", 32768},
          {"max_window_layers", 70},
          {"model_type", "qwen2"},
          {"num_attention_heads", 12},
          {"num_hidden_layers", 28},
          {"num_key_value_heads", 2},
          {"sliding_window", 32768},
          {"tie_word_embeddings", true},
          {"torch_dtype", "bfloat16"},
          {"use_mrope", false},
          {"use_sliding_window", false},
          {"vocab_size", 151936}};
}

class ModelConfig : public testing::Test {
 protected:
  ModelConfig() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(testing::TempDir()) / fmt::format("{}-{}", test->name(), getpid());
    std::filesystem::create_directories(root_ / "Qwen2.5-1.5B");
  }
  ~ModelConfig() override { std::filesystem::remove_all(root_); }

  std::filesystem::path file() const { return root_ / "Qwen2.5-1.5B" / "config.json"; }
  ModelGeometry read_text(std::string_view text) const {
    std::ofstream(file(), std::ios::binary) << text;
    return read_model_config(file());
  }
  ModelGeometry read(const Json& json) const { return read_text(json.dump()); }

  template <typename... Parts>
  void expect_refused(const Json& json, const Parts&... parts) const {
    EXPECT_THAT([&] { read(json); }, ThrowsMessage<ConfigError>(AllOf(HasSubstr(file().string()), HasSubstr(parts)...)))
        << json.dump();
  }

 private:
  std::filesystem::path root_;
};

TEST_F(ModelConfig, APublishedFileGivesItsShapeAndItsFoldersName) {
  const ModelGeometry geometry = read(published());
  EXPECT_EQ(geometry.name, "Qwen2.5-1.5B");
  EXPECT_EQ(geometry.num_layers, 28);
  EXPECT_EQ(geometry.hidden, 1536);
  EXPECT_EQ(geometry.num_query_heads, 12);
  EXPECT_EQ(geometry.num_kv_heads, 2);
  EXPECT_EQ(geometry.head_dim, 128);  // absent in the file: hidden_size / num_attention_heads
  EXPECT_EQ(geometry.intermediate, 8960);
  EXPECT_EQ(geometry.vocab, 151936);
  EXPECT_TRUE(geometry.tied_embeddings);
  EXPECT_EQ(geometry.max_position_embeddings, 32768);
  EXPECT_EQ(geometry.kv_element_bytes, 2);
  EXPECT_EQ(geometry.weight_element_bytes, 2);
}

TEST_F(ModelConfig, AHeadDimInTheFileWinsOverTheQuotient) {
  Json json = published();
  json["head_dim"] = 64;
  EXPECT_EQ(read(json).head_dim, 64);
  json["head_dim"] = nullptr;
  EXPECT_EQ(read(json).head_dim, 128);
}

TEST_F(ModelConfig, Float32WeightsTakeFourBytesWhileTheStoreKeepsTwo) {
  Json json = published();
  json["torch_dtype"] = "float32";
  EXPECT_EQ(read(json).weight_element_bytes, 4);
  EXPECT_EQ(read(json).kv_element_bytes, 2);
  json["torch_dtype"] = "int8";
  expect_refused(json, "torch_dtype", "found \"int8\"", "bfloat16, float16, float32");
}

TEST_F(ModelConfig, TheSlidingWindowCountsOnlyWhereItIsUsed) {
  Json json = published();
  json["sliding_window"] = 16;
  EXPECT_EQ(read(json).max_position_embeddings, 32768);
  json.erase("use_sliding_window");
  EXPECT_EQ(read(json).num_layers, 28);
  json["use_sliding_window"] = true;
  expect_refused(json, "use_sliding_window", "found true", "allowed: false");
  json["use_sliding_window"] = "no";
  expect_refused(json, "use_sliding_window", "true or false");
}

TEST_F(ModelConfig, AnotherModelTypeIsRefusedWithTheAllowedOnes) {
  Json json = published();
  for (const char* type : {"gpt_neox", "qwen2_moe", "Qwen2", ""}) {
    json["model_type"] = type;
    expect_refused(json, "model_type", fmt::format("found \"{}\"", type), "allowed: qwen2");
  }
  json["model_type"] = 2;
  expect_refused(json, "model_type", "found 2", "a string");
  json.erase("model_type");
  expect_refused(json, "model_type is missing", "qwen2");
}

TEST_F(ModelConfig, AQuantisedCheckpointIsRefused) {
  Json json = published();
  json["quantization_config"] = {{"bits", 4}};
  expect_refused(json, "quantization_config", "without this key");
}

TEST_F(ModelConfig, EveryMissingNumberIsNamed) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
                          "intermediate_size", "vocab_size", "max_position_embeddings", "tie_word_embeddings"}) {
    Json json = published();
    json.erase(key);
    expect_refused(json, fmt::format("{} is missing", key), "expected");
  }
}

TEST_F(ModelConfig, EveryNumberThatMakesNoSenseIsRefusedByName) {
  const std::vector<Json> nonsense = {0, -1, 1.5, 1e300, "28", true, nullptr, Json::array({28}), 4'294'967'297};
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
                          "intermediate_size", "vocab_size", "max_position_embeddings"}) {
    for (const Json& value : nonsense) {
      Json json = published();
      json[key] = value;
      expect_refused(json, key);
    }
  }
  Json json = published();
  json["num_hidden_layers"] = 512;  // a piece key holds layers 0 to 511; 511 layers is the bound
  expect_refused(json, "num_hidden_layers", "found 512");
  json["num_hidden_layers"] = 511;
  EXPECT_EQ(read(json).num_layers, 511);
  json["tie_word_embeddings"] = 1;
  expect_refused(json, "tie_word_embeddings", "true or false");
}

TEST_F(ModelConfig, KvHeadsMustDivideQueryHeads) {
  Json json = published();
  json["num_key_value_heads"] = 5;
  expect_refused(json, "num_key_value_heads", "found 5", "num_attention_heads (12)");
  json["num_key_value_heads"] = 24;
  expect_refused(json, "num_key_value_heads", "found 24");
  json["num_key_value_heads"] = 12;
  EXPECT_EQ(read(json).group_size(), 1);
}

TEST_F(ModelConfig, AHiddenSizeThatHeadsDoNotDivideNeedsAHeadDim) {
  Json json = published();
  json["hidden_size"] = 1537;
  expect_refused(json, "hidden_size", "found 1537", "head_dim");
  json["head_dim"] = 128;
  EXPECT_EQ(read(json).head_dim, 128);
}

TEST_F(ModelConfig, AFileWithASourceIsTheProjectsOwnAndMayHoldNoUnknownKey) {
  Json json = published();
  for (const char* key : {"architectures", "max_window_layers", "sliding_window", "use_mrope", "use_sliding_window"}) {
    json.erase(key);
  }
  json["name"] = "mine";
  json["source"] = "data sheet";
  EXPECT_EQ(read(json).name, "mine");
  json["head_dims"] = 64;
  expect_refused(json, "head_dims", "unknown key", "did you mean head_dim?");
  json.erase("head_dims");
  json["source"] = "";
  expect_refused(json, "source", "where the numbers come from");
  json["source"] = "data sheet";
  json["name"] = "";
  expect_refused(json, "name", "a name");
}

TEST_F(ModelConfig, WhatIsNoObjectOrNoJsonOrNotThereIsRefused) {
  for (const char* text : {"", "[]", "null", "3", "{", "{\"model_type\": \"qwen2\"", "\xff\xfe"}) {
    EXPECT_THAT([&] { read_text(text); }, ThrowsMessage<ConfigError>(HasSubstr(file().string()))) << text;
  }
  EXPECT_THAT([&] { read_text(R"({"model_type": "qwen2", "model_type": "qwen2"})"); },
              ThrowsMessage<ConfigError>(HasSubstr("twice")));
  EXPECT_THROW(read_model_config(file().parent_path()), ConfigError);
  EXPECT_THROW(read_model_config(file().parent_path() / "none.json"), ConfigError);
}

}  // namespace
}  // namespace reprefill
