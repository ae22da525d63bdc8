// What config.json says beyond the shape, in the spellings that are published.
#include <gmock/gmock.h>

#include <fstream>

#include "engine/checkpoint/checkpoint.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::engine {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class DecoderConfigFile : public testing::Test {
 protected:
  DecoderConfig read(const Json& changes) {
    Json config = config_of(test_support::TinyCheckpoint{});
    config.update(changes);
    std::ofstream(folder_ / "config.json") << config.dump();
    return read_decoder_config(folder_ / "config.json");
  }
  void expect_refused(const Json& changes, const std::string& message) {
    EXPECT_THAT([&] { read(changes); }, ThrowsMessage<ConfigError>(HasSubstr(message))) << changes;
  }
  test_support::TemporaryFolder folder_;
};

TEST_F(DecoderConfigFile, YarnIsReadInBothSpellings) {
  const Json old_form = {
      {"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 2048}}}};
  const Json new_form = {{"rope_theta", nullptr},
                         {"rope_parameters",
                          {{"rope_type", "yarn"},
                           {"rope_theta", 5e5},
                           {"factor", 4.0},
                           {"original_max_position_embeddings", 2048},
                           {"attention_factor", 1.5}}}};
  const DecoderConfig a = read(old_form), b = read(new_form);
  ASSERT_TRUE(a.yarn && b.yarn);
  EXPECT_EQ(a.yarn->factor, 4);
  EXPECT_EQ(a.max_positions, 8192u);
  EXPECT_EQ(a.rope_theta, 10000);
  EXPECT_EQ(b.rope_theta, 5e5);
  EXPECT_EQ(b.yarn->attention_factor, 1.5);
}

TEST_F(DecoderConfigFile, WhatTheEngineCannotRunIsRefusedByKey) {
  expect_refused({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}, "RoPE type \"linear\"");
  expect_refused({{"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}}}}, "original_max_position_embeddings");
  expect_refused(
      {{"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}, {"original_max_position_embeddings", 64}, {"mscale", 1}}}},
      "mscale");
  expect_refused({{"use_sliding_window", true}}, "use_sliding_window");
  expect_refused({{"use_mrope", true}}, "use_mrope");
  expect_refused({{"hidden_act", "gelu"}}, "hidden_act");
  expect_refused({{"layer_types", {"full_attention", "sliding_attention"}}}, "layer_types[1]");
  expect_refused({{"quantization_config", {{"bits", 4}}}}, "quantization_config");
  expect_refused({{"model_type", "llama"}}, "the engine runs Qwen2 and Qwen2.5");
  expect_refused({{"rms_norm_eps", 0}}, "rms_norm_eps");
  expect_refused({{"head_dim", 15}}, "head_dim is odd");
}

TEST_F(DecoderConfigFile, TheWindowOfAFileThatDoesNotUseItIsIgnored) {
  EXPECT_FALSE(read({{"sliding_window", 32768}, {"max_window_layers", 70}, {"use_mrope", false}}).yarn);
}

TEST_F(DecoderConfigFile, EndsOfSequenceComeFromBothFiles) {
  std::ofstream(folder_ / "generation_config.json") << R"({"eos_token_id": [5, 7]})";
  EXPECT_EQ(read({{"eos_token_id", 7}}).end_of_sequence_ids, (std::vector<std::int32_t>{7, 5}));
}

TEST(PublishedDecoderConfigs, AreAllRead) {
  const auto qwen = test_support::find_qwen_folder();
  if (!qwen) GTEST_SKIP() << test_support::kNoQwenFolder;
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*qwen / "configs")) {
    const DecoderConfig config = read_decoder_config(entry.path() / "config.json");
    EXPECT_EQ(config.rms_norm_eps, 1e-6);
    EXPECT_EQ(config.rope_theta, 1e6);
    EXPECT_FALSE(config.end_of_sequence_ids.empty());
    EXPECT_FALSE(config.yarn);
    ++count;
  }
  EXPECT_EQ(count, 9);
}

}  // namespace
}  // namespace reprefill::engine
