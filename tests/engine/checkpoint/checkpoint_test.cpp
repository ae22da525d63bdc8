// Folders as Hugging Face publishes them, and folders that contradict themselves.
#include "engine/checkpoint/checkpoint.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <fstream>

#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::engine {
namespace {

using test_support::TinyCheckpoint;
using testing::HasSubstr;
using testing::ThrowsMessage;

class CheckpointFolder : public testing::Test {
 protected:
  std::filesystem::path write(const TinyCheckpoint& checkpoint) {
    const std::filesystem::path folder = folder_ / ("model" + std::to_string(++count_));
    write_checkpoint(folder, checkpoint);
    return folder;
  }
  std::filesystem::path write_tensors(const TinyCheckpoint& checkpoint,
                                      const std::vector<test_support::RawTensor>& tensors) {
    const std::filesystem::path folder = write(checkpoint);
    std::ofstream(folder / "model.safetensors", std::ios::binary) << test_support::safetensors_bytes(tensors);
    return folder;
  }
  static void expect_refused(const std::filesystem::path& folder, const std::string& message) {
    EXPECT_THAT([&] { Checkpoint::open(folder); }, ThrowsMessage<ConfigError>(HasSubstr(message)));
  }
  test_support::TemporaryFolder folder_;
  int count_ = 0;
};

TEST_F(CheckpointFolder, EveryTensorIsWhereItsNameSays) {
  for (const ElementType type : {ElementType::bf16, ElementType::fp16, ElementType::fp32}) {
    for (const int num_shards : {1, 3}) {
      const TinyCheckpoint tiny{.tied = num_shards == 1, .type = type, .num_shards = num_shards};
      const Checkpoint checkpoint = Checkpoint::open(write(tiny));
      for (const test_support::RawTensor& tensor : tensors_of(tiny)) {
        const WeightView* view = nullptr;
        if (tensor.name == "model.embed_tokens.weight") view = &checkpoint.embedding();
        if (tensor.name == "lm_head.weight") view = &checkpoint.lm_head();
        if (tensor.name == "model.layers.1.self_attn.k_proj.bias") view = &checkpoint.layer(1).k_bias;
        if (tensor.name == "model.layers.0.mlp.down_proj.weight") view = &checkpoint.layer(0).down_weight;
        if (tensor.name == "model.layers.1.input_layernorm.weight") view = &checkpoint.layer(1).input_norm;
        if (view == nullptr) continue;
        EXPECT_EQ(view->type, type);
        ASSERT_EQ(view->bytes(), tensor.bytes.size()) << tensor.name;
        EXPECT_EQ(std::memcmp(view->data, tensor.bytes.data(), view->bytes()), 0) << tensor.name;
      }
      EXPECT_EQ(checkpoint.lm_head().data == checkpoint.embedding().data, tiny.tied);
    }
  }
}

TEST_F(CheckpointFolder, MissingWrongAndStrangeTensorsAreNamed) {
  const TinyCheckpoint tiny{.tied = false};
  auto tensors = tensors_of(tiny);
  const auto without = [&](const std::string& name) {
    auto rest = tensors;
    std::erase_if(rest, [&](const auto& tensor) { return tensor.name == name; });
    return rest;
  };
  expect_refused(write_tensors(tiny, without("model.layers.1.self_attn.q_proj.bias")),
                 "model.layers.1.self_attn.q_proj.bias: the tensor is missing");
  expect_refused(write_tensors(tiny, without("lm_head.weight")), "lm_head.weight");
  auto strange = tensors;
  strange.back().name = "model.layers.0.self_attn.o_proj.bias";
  strange.push_back(tensors.back());
  expect_refused(write_tensors(tiny, strange), "no tensor of this name");
  auto reshaped = tensors;
  std::swap(reshaped[0].shape[0], reshaped[0].shape[1]);
  expect_refused(write_tensors(tiny, reshaped), "found shape [64, 128]; the configuration needs [128, 64]");
  auto retyped = tensors;
  retyped[0].dtype = "I16";
  expect_refused(write_tensors(tiny, retyped), "found dtype I16");
}

TEST_F(CheckpointFolder, ATiedModelIgnoresAStoredHead) {
  TinyCheckpoint tiny{.tied = false};
  const auto tensors = tensors_of(tiny);
  tiny.tied = true;
  const Checkpoint checkpoint = Checkpoint::open(write_tensors(tiny, tensors));
  EXPECT_EQ(checkpoint.lm_head().data, checkpoint.embedding().data);
}

TEST_F(CheckpointFolder, ShardsAndTheirIndexMustAgree) {
  const TinyCheckpoint tiny{.num_shards = 2};
  const auto change_index = [&](auto&& change) {
    const std::filesystem::path folder = write(tiny);
    Json index = read_json_file(folder / "model.safetensors.index.json");
    change(folder, index);
    std::ofstream(folder / "model.safetensors.index.json") << index.dump();
    return folder;
  };
  expect_refused(change_index([](const auto& folder, Json&) {
                   std::filesystem::remove(folder / "model-00002-of-00002.safetensors");
                 }),
                 "names the shard model-00002-of-00002.safetensors, which is not there");
  expect_refused(change_index([](const auto&, Json& index) {
                   index["weight_map"]["model.norm.weight"] = "../model-00001-of-00002.safetensors";
                 }),
                 "expected the name of a file beside the index");
  expect_refused(change_index([](const auto&, Json& index) {
                   Json& map = index["weight_map"];
                   const std::string other = map["model.norm.weight"] == "model-00001-of-00002.safetensors"
                                                 ? "model-00002-of-00002.safetensors"
                                                 : "model-00001-of-00002.safetensors";
                   map["model.norm.weight"] = other;
                 }),
                 "the tensor is in");
  expect_refused(change_index([](const auto&, Json& index) { index["weight_map"].erase("model.norm.weight"); }),
                 "the index does not name this tensor");
  const std::filesystem::path twice = write(tiny);
  std::filesystem::copy_file(twice / "model-00001-of-00002.safetensors", twice / "model-00002-of-00002.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  expect_refused(twice, "holds this tensor too");
}

TEST_F(CheckpointFolder, TheFingerprintIsOfConfigurationAndWeights) {
  const std::uint64_t fingerprint = Checkpoint::open(write({})).fingerprint();
  EXPECT_EQ(Checkpoint::open(write({})).fingerprint(), fingerprint);
  EXPECT_NE(Checkpoint::open(write({.seed = 2})).fingerprint(), fingerprint);
  EXPECT_NE(Checkpoint::open(write({.rope_theta = 20000})).fingerprint(), fingerprint);
  const std::filesystem::path folder = write({});
  std::fstream file(folder / "model.safetensors", std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-1, std::ios::end);
  file.put('\x7f');
  file.close();
  EXPECT_NE(Checkpoint::open(folder).fingerprint(), fingerprint);
}

TEST_F(CheckpointFolder, WhatIsNoFolderOrHasNoWeightsIsRefused) {
  expect_refused(folder_ / "none", "expected the folder of a checkpoint");
  const std::filesystem::path folder = write({});
  std::filesystem::remove(folder / "model.safetensors");
  expect_refused(folder, "neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace
}  // namespace reprefill::engine
