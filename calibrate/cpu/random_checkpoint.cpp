#include "calibrate/cpu/random_checkpoint.hpp"

#include <algorithm>
#include <fstream>
#include <vector>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/base/random.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint64_t kElementBytes = 2;  // bf16

struct Tensor {
  std::string name;
  std::uint64_t rows = 0, columns = 0;
  Json shape() const { return rows == 1 ? Json{columns} : Json{rows, columns}; }
  std::uint64_t bytes() const { return rows * columns * kElementBytes; }
};

std::vector<Tensor> tensors_of(const ModelGeometry& g, int num_layers) {
  const auto hidden = static_cast<std::uint64_t>(g.hidden), vocab = static_cast<std::uint64_t>(g.vocab);
  const auto mlp = static_cast<std::uint64_t>(g.intermediate);
  const std::uint64_t query = static_cast<std::uint64_t>(g.num_query_heads) * static_cast<std::uint64_t>(g.head_dim);
  const std::uint64_t kv = static_cast<std::uint64_t>(g.num_kv_heads) * static_cast<std::uint64_t>(g.head_dim);
  std::vector<Tensor> tensors = {{"model.embed_tokens.weight", vocab, hidden}, {"model.norm.weight", 1, hidden}};
  for (int layer = 0; layer < num_layers; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    const std::vector<Tensor> of_layer = {
        {"input_layernorm.weight", 1, hidden},      {"post_attention_layernorm.weight", 1, hidden},
        {"self_attn.q_proj.weight", query, hidden}, {"self_attn.q_proj.bias", 1, query},
        {"self_attn.k_proj.weight", kv, hidden},    {"self_attn.k_proj.bias", 1, kv},
        {"self_attn.v_proj.weight", kv, hidden},    {"self_attn.v_proj.bias", 1, kv},
        {"self_attn.o_proj.weight", hidden, query}, {"mlp.gate_proj.weight", mlp, hidden},
        {"mlp.up_proj.weight", mlp, hidden},        {"mlp.down_proj.weight", hidden, mlp}};
    for (const Tensor& tensor : of_layer) tensors.push_back({at + tensor.name, tensor.rows, tensor.columns});
  }
  return tensors;
}

/// bf16 of magnitude 2^-7 to 2^-6, either sign: activations stay finite, nothing is denormal, and no two rows are
/// alike.
void fill_weights(RandomStream& random, std::vector<std::uint16_t>& block) {
  for (std::size_t i = 0; i < block.size(); i += 4) {
    std::uint64_t bits = random.below(~std::uint64_t{0});
    for (std::size_t j = i; j < std::min(i + 4, block.size()); ++j, bits >>= 16) {
      block[j] = static_cast<std::uint16_t>(0x3c00 | (bits & 0x807f));
    }
  }
}

std::string header_of(const std::vector<Tensor>& tensors) {
  Json header = Json::object();
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    header[tensor.name] = {
        {"dtype", "BF16"}, {"shape", tensor.shape()}, {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

/// From the shape alone: what else a published config.json says changes no duration. The head is tied to the embedding.
Json config_of(const ModelGeometry& g, int num_layers) {
  return {{"model_type", "qwen2"},
          {"hidden_act", "silu"},
          {"hidden_size", g.hidden},
          {"intermediate_size", g.intermediate},
          {"max_position_embeddings", g.max_position_embeddings},
          {"num_attention_heads", g.num_query_heads},
          {"num_hidden_layers", num_layers},
          {"num_key_value_heads", g.num_kv_heads},
          {"head_dim", g.head_dim},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 1000000.0},
          {"tie_word_embeddings", true},
          {"torch_dtype", "bfloat16"},
          {"use_sliding_window", false},
          {"vocab_size", g.vocab}};
}

}  // namespace

int num_random_layers(const ModelGeometry& geometry) {
  constexpr std::uint64_t kWanted = std::uint64_t{512} << 20;
  const std::uint64_t layer = geometry.params_per_layer() * 4;  // widened to fp32
  return static_cast<int>(std::clamp<std::uint64_t>(divide_rounding_up(kWanted, layer), 1,
                                                    static_cast<std::uint64_t>(geometry.num_layers)));
}

Bytes random_checkpoint_bytes(const ModelGeometry& geometry, int num_layers) {
  Bytes total;
  for (const Tensor& tensor : tensors_of(geometry, num_layers)) total += Bytes{tensor.bytes()};
  return total;
}

void write_random_checkpoint(const std::filesystem::path& folder, const ModelGeometry& geometry, int num_layers) {
  std::filesystem::create_directories(folder);
  const Bytes needed = random_checkpoint_bytes(geometry, num_layers);
  if (const std::uint64_t free = std::filesystem::space(folder).available; free < needed.value + needed.value / 10) {
    throw ConfigError(fmt::format("{}: {} layers of {} take {} bytes for a while; {} are free", folder.string(),
                                  num_layers, geometry.name, needed.value, free));
  }
  const Json json = config_of(geometry, num_layers);
  write_file_atomically(folder / "config.json", json.dump(2));

  const std::vector<Tensor> tensors = tensors_of(geometry, num_layers);
  const std::filesystem::path path = folder / "model.safetensors";
  std::ofstream file(path, std::ios::binary);
  const std::string header = header_of(tensors);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  RandomStream random(1, 0, "calibrate/weights");
  std::vector<std::uint16_t> block(1 << 20);
  fill_weights(random, block);
  // One block of random numbers, begun at another place each time: making each would take longer than writing.
  for (std::uint64_t left = needed.value / kElementBytes; left > 0;) {
    const std::uint64_t first = random.below(block.size() / 2);
    const std::uint64_t count = std::min<std::uint64_t>(left, block.size() - first);
    file.write(reinterpret_cast<const char*>(block.data() + first),
               static_cast<std::streamsize>(count * kElementBytes));
    left -= count;
  }
  file.close();
  if (!file) throw MachineError(fmt::format("write({}): the disk may be full", path.string()));
}

}  // namespace reprefill::calibrate
