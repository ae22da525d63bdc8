// Random Qwen2 checkpoints of any shape, in the format of the published ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "engine/checkpoint/checkpoint.hpp"

namespace reprefill::test_support {

struct TinyCheckpoint {
  int num_layers = 2;
  int hidden = 64;
  int num_query_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 16;  // written to config.json only where it is not hidden / heads
  int intermediate = 96;
  int vocab = 128;
  bool tied = true;
  int max_positions = 4096;
  double rope_theta = 10000;
  engine::ElementType type = engine::ElementType::bf16;
  int num_shards = 1;
  std::uint64_t seed = 1;
  double weight_scale = 1.0;  // of matrices, in units of 1 / sqrt(inputs)
  Json extra_config = Json::object();
};

struct RawTensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

/// Names, shapes and random values of every tensor; a function of the parameters alone.
std::vector<RawTensor> tensors_of(const TinyCheckpoint& checkpoint);
Json config_of(const TinyCheckpoint& checkpoint);

/// One .safetensors file.
std::string safetensors_bytes(const std::vector<RawTensor>& tensors);

/// config.json and weights; the folder is made.
void write_checkpoint(const std::filesystem::path& folder, const TinyCheckpoint& checkpoint);

}  // namespace reprefill::test_support
