#include "tests/support/tiny_checkpoint.hpp"

#include <cmath>
#include <cstring>
#include <fstream>

#include "core/base/bfloat16.hpp"
#include "core/base/random.hpp"

namespace reprefill::test_support {
namespace {

using engine::ElementType;

const char* dtype_name(ElementType type) {
  return type == ElementType::bf16 ? "BF16" : type == ElementType::fp16 ? "F16" : "F32";
}

/// IEEE half, for values of ordinary size: rounds to nearest.
std::uint16_t to_half(float value) {
  const auto half = static_cast<_Float16>(value);
  std::uint16_t bits = 0;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

void append(std::string& bytes, ElementType type, float value) {
  const auto put = [&](auto word) { bytes.append(reinterpret_cast<const char*>(&word), sizeof word); };
  if (type == ElementType::bf16) return put(BFloat16::round(value).bits);
  if (type == ElementType::fp16) return put(to_half(value));
  put(value);
}

/// Uniform in [-1, 1).
float uniform(std::uint64_t seed, std::uint64_t index) {
  return static_cast<float>(static_cast<double>(combine64(seed, index) >> 11) * 0x1p-52 - 1.0);
}

class TensorMaker {
 public:
  explicit TensorMaker(const TinyCheckpoint& checkpoint) : checkpoint_(checkpoint) {}

  void matrix(const std::string& name, int rows, int columns) {
    // Uniform values of variance 1 / 3: scaled to variance 1 / inputs.
    add(name, {rows, columns}, 0, checkpoint_.weight_scale * std::sqrt(3.0 / columns));
  }
  void vector(const std::string& name, int size, double centre, double spread) { add(name, {size}, centre, spread); }
  std::vector<RawTensor> take() { return std::move(tensors_); }

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape, double centre, double spread) {
    RawTensor tensor{.name = name, .dtype = dtype_name(checkpoint_.type), .shape = shape, .bytes = {}};
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    const std::uint64_t seed = combine64(checkpoint_.seed, hash_name(name));
    for (std::int64_t i = 0; i < count; ++i) {
      const double value = centre + spread * static_cast<double>(uniform(seed, static_cast<std::uint64_t>(i)));
      append(tensor.bytes, checkpoint_.type, static_cast<float>(value));
    }
    tensors_.push_back(std::move(tensor));
  }

  const TinyCheckpoint& checkpoint_;
  std::vector<RawTensor> tensors_;
};

void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

std::vector<RawTensor> tensors_of(const TinyCheckpoint& c) {
  TensorMaker maker(c);
  const int query = c.num_query_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  maker.matrix("model.embed_tokens.weight", c.vocab, c.hidden);
  for (int layer = 0; layer < c.num_layers; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    maker.vector(at + "input_layernorm.weight", c.hidden, 1, 0.2);
    maker.matrix(at + "self_attn.q_proj.weight", query, c.hidden);
    maker.vector(at + "self_attn.q_proj.bias", query, 0, 0.3);
    maker.matrix(at + "self_attn.k_proj.weight", kv, c.hidden);
    maker.vector(at + "self_attn.k_proj.bias", kv, 0, 0.3);
    maker.matrix(at + "self_attn.v_proj.weight", kv, c.hidden);
    maker.vector(at + "self_attn.v_proj.bias", kv, 0, 0.3);
    maker.matrix(at + "self_attn.o_proj.weight", c.hidden, query);
    maker.vector(at + "post_attention_layernorm.weight", c.hidden, 1, 0.2);
    maker.matrix(at + "mlp.gate_proj.weight", c.intermediate, c.hidden);
    maker.matrix(at + "mlp.up_proj.weight", c.intermediate, c.hidden);
    maker.matrix(at + "mlp.down_proj.weight", c.hidden, c.intermediate);
  }
  maker.vector("model.norm.weight", c.hidden, 1, 0.2);
  if (!c.tied) maker.matrix("lm_head.weight", c.vocab, c.hidden);
  return maker.take();
}

Json config_of(const TinyCheckpoint& c) {
  Json config = {{"architectures", {"Qwen2ForCausalLM"}},
                 {"model_type", "qwen2"},
                 {"hidden_act", "silu"},
                 {"hidden_size", c.hidden},
                 {"intermediate_size", c.intermediate},
                 {"max_position_embeddings", c.max_positions},
                 {"num_attention_heads", c.num_query_heads},
                 {"num_hidden_layers", c.num_layers},
                 {"num_key_value_heads", c.num_kv_heads},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", c.rope_theta},
                 {"tie_word_embeddings", c.tied},
                 {"torch_dtype", c.type == ElementType::fp32 ? "float32" : "bfloat16"},
                 {"use_sliding_window", false},
                 {"vocab_size", c.vocab}};
  if (c.head_dim * c.num_query_heads != c.hidden) config["head_dim"] = c.head_dim;
  config.update(c.extra_config);
  return config;
}

std::string safetensors_bytes(const std::vector<RawTensor>& tensors) {
  Json header = Json::object();
  std::string data;
  for (const RawTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data;
}

void write_checkpoint(const std::filesystem::path& folder, const TinyCheckpoint& checkpoint) {
  std::filesystem::create_directories(folder);
  write_bytes(folder / "config.json", config_of(checkpoint).dump(2));
  const std::vector<RawTensor> tensors = tensors_of(checkpoint);
  if (checkpoint.num_shards == 1) {
    write_bytes(folder / "model.safetensors", safetensors_bytes(tensors));
    return;
  }
  Json map = Json::object();
  for (int shard = 0; shard < checkpoint.num_shards; ++shard) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, checkpoint.num_shards);
    std::vector<RawTensor> part;
    for (std::size_t i = static_cast<std::size_t>(shard); i < tensors.size();
         i += static_cast<std::size_t>(checkpoint.num_shards)) {
      part.push_back(tensors[i]);
      map[tensors[i].name] = name;
    }
    write_bytes(folder / name, safetensors_bytes(part));
  }
  write_bytes(folder / "model.safetensors.index.json", Json{{"metadata", Json::object()}, {"weight_map", map}}.dump(2));
}

}  // namespace reprefill::test_support
