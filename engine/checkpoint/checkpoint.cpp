#include "engine/checkpoint/checkpoint.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/files.hpp"
#include "engine/checkpoint/safetensors.hpp"

namespace reprefill::engine {
namespace {

/// Finds tensors by name, checks their shape and keeps track of what nobody asked for.
class TensorReader {
 public:
  explicit TensorReader(const SafetensorsFolder& files) : files_(files) {}

  WeightView matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    return read(name, {rows, columns}, rows, columns);
  }
  WeightView vector(const std::string& name, std::int64_t size) { return read(name, {size}, 1, size); }
  bool has(const std::string& name) const { return files_.tensors().contains(name); }
  void ignore(const std::string& name) { used_.insert(name); }

  void refuse_unused() const {
    for (const auto& [name, entry] : files_.tensors()) {
      // Buffers that old exports kept; they follow from the configuration.
      if (used_.contains(name) || name.ends_with("rotary_emb.inv_freq")) continue;
      throw ConfigError(fmt::format("{}: {}: no tensor of this name in a Qwen2 decoder of this configuration",
                                    files_.file_of(name), name));
    }
  }

 private:
  WeightView read(const std::string& name, std::vector<std::int64_t> shape, std::int64_t rows, std::int64_t columns) {
    const auto found = files_.tensors().find(name);
    if (found == files_.tensors().end()) {
      throw ConfigError(
          fmt::format("{}: {}: the tensor is missing", files_.files().front().path().parent_path().string(), name));
    }
    const TensorEntry& entry = found->second;
    if (entry.shape != shape) {
      throw ConfigError(fmt::format("{}: {}: found shape [{}]; the configuration needs [{}]", files_.file_of(name),
                                    name, fmt::join(entry.shape, ", "), fmt::join(shape, ", ")));
    }
    used_.insert(name);
    return {.data = entry.data.data(), .type = type_of(name, entry.dtype), .rows = rows, .columns = columns};
  }

  ElementType type_of(const std::string& name, const std::string& dtype) const {
    if (dtype == "BF16") return ElementType::bf16;
    if (dtype == "F16") return ElementType::fp16;
    if (dtype == "F32") return ElementType::fp32;
    throw ConfigError(
        fmt::format("{}: {}: found dtype {}; allowed: BF16, F16, F32", files_.file_of(name), name, dtype));
  }

  const SafetensorsFolder& files_;
  std::set<std::string> used_;
};

LayerWeights read_layer(TensorReader& reader, const ModelGeometry& g, int layer_idx) {
  const std::string at = fmt::format("model.layers.{}.", layer_idx);
  const std::int64_t hidden = g.hidden, intermediate = g.intermediate;
  const std::int64_t query = std::int64_t{g.num_query_heads} * g.head_dim,
                     kv = std::int64_t{g.num_kv_heads} * g.head_dim;
  LayerWeights layer;
  layer.input_norm = reader.vector(at + "input_layernorm.weight", hidden);
  layer.post_attention_norm = reader.vector(at + "post_attention_layernorm.weight", hidden);
  layer.q_weight = reader.matrix(at + "self_attn.q_proj.weight", query, hidden);
  layer.k_weight = reader.matrix(at + "self_attn.k_proj.weight", kv, hidden);
  layer.v_weight = reader.matrix(at + "self_attn.v_proj.weight", kv, hidden);
  layer.o_weight = reader.matrix(at + "self_attn.o_proj.weight", hidden, query);
  layer.q_bias = reader.vector(at + "self_attn.q_proj.bias", query);
  layer.k_bias = reader.vector(at + "self_attn.k_proj.bias", kv);
  layer.v_bias = reader.vector(at + "self_attn.v_proj.bias", kv);
  layer.gate_weight = reader.matrix(at + "mlp.gate_proj.weight", intermediate, hidden);
  layer.up_weight = reader.matrix(at + "mlp.up_proj.weight", intermediate, hidden);
  layer.down_weight = reader.matrix(at + "mlp.down_proj.weight", hidden, intermediate);
  return layer;
}

/// Small files are hashed as a whole; of large ones the length, the first MiB (which holds the header's beginning) and
/// 1,024 evenly spaced pages.
std::uint64_t digest_file(std::span<const std::byte> bytes, std::uint64_t seed) {
  constexpr std::size_t kWhole = 256u << 20, kHead = 1u << 20, kSample = 4096, kNumSamples = 1024;
  if (bytes.size() <= kWhole) return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
  std::uint64_t digest = XXH3_64bits_withSeed(bytes.data(), kHead, seed ^ bytes.size());
  for (std::size_t i = 0; i < kNumSamples; ++i) {
    const std::size_t offset = (bytes.size() - kSample) / kNumSamples * i;
    digest = XXH3_64bits_withSeed(bytes.data() + offset, kSample, digest);
  }
  return digest;
}

}  // namespace

std::size_t WeightView::bytes() const {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns) * (type == ElementType::fp32 ? 4 : 2);
}

struct Checkpoint::Impl {
  explicit Impl(SafetensorsFolder opened) : files(std::move(opened)) {}
  SafetensorsFolder files;
  DecoderConfig config;
  WeightView embedding, final_norm, lm_head;
  std::vector<LayerWeights> layers;
  std::uint64_t fingerprint = 0;

  std::uint64_t compute_fingerprint() const {
    // What K and V depend on besides the weights.
    const ModelGeometry& g = config.geometry;
    const std::string text =
        fmt::format("{} {} {} {} {} {} {} {:.17g} {:.17g} {}", g.num_layers, g.hidden, g.num_query_heads,
                    g.num_kv_heads, g.head_dim, g.intermediate, g.vocab, config.rms_norm_eps, config.rope_theta,
                    config.yarn ? fmt::format("{:.17g} {} {:.17g} {:.17g} {:.17g}", config.yarn->factor,
                                              config.yarn->original_max_positions, config.yarn->beta_fast,
                                              config.yarn->beta_slow, config.yarn->attention_factor.value_or(0))
                                : "");
    std::uint64_t digest = XXH3_64bits(text.data(), text.size());
    for (const MappedFile& file : files.files()) digest = digest_file(file.bytes(), digest);
    return digest;
  }
};

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const std::filesystem::path& folder) {
  if (!folder_exists(folder)) {
    throw ConfigError(fmt::format("{}: expected the folder of a checkpoint", folder.string()));
  }
  const DecoderConfig config = read_decoder_config(folder / "config.json");
  auto impl = std::make_unique<Impl>(SafetensorsFolder::open(folder));
  impl->config = config;
  const ModelGeometry& g = config.geometry;
  TensorReader reader(impl->files);
  impl->embedding = reader.matrix("model.embed_tokens.weight", g.vocab, g.hidden);
  impl->final_norm = reader.vector("model.norm.weight", g.hidden);
  for (int layer = 0; layer < g.num_layers; ++layer) impl->layers.push_back(read_layer(reader, g, layer));
  if (g.tied_embeddings) {
    impl->lm_head = impl->embedding;
    // As transformers: where the embeddings are tied, a stored copy does not count.
    if (reader.has("lm_head.weight")) reader.ignore("lm_head.weight");
  } else {
    impl->lm_head = reader.matrix("lm_head.weight", g.vocab, g.hidden);
  }
  reader.refuse_unused();
  for (const MappedFile& file : impl->files.files()) file.read_ahead();
  impl->fingerprint = impl->compute_fingerprint();
  return Checkpoint(std::move(impl));
}

const DecoderConfig& Checkpoint::config() const { return impl_->config; }
const WeightView& Checkpoint::embedding() const { return impl_->embedding; }
const WeightView& Checkpoint::final_norm() const { return impl_->final_norm; }
const WeightView& Checkpoint::lm_head() const { return impl_->lm_head; }
const LayerWeights& Checkpoint::layer(int layer_idx) const {
  return impl_->layers.at(static_cast<std::size_t>(layer_idx));
}
std::uint64_t Checkpoint::fingerprint() const { return impl_->fingerprint; }

}  // namespace reprefill::engine
