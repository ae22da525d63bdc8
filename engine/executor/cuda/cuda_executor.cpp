#include "engine/executor/cuda/cuda_executor.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.hpp"
#include "engine/executor/cuda/gpu_views.hpp"
#include "engine/executor/cuda/gpu_weights.hpp"
#include "engine/executor/cuda/host_digest_score.hpp"
#include "engine/executor/layer_progress.hpp"
#include "engine/executor/rope.hpp"
#include "kernels/chunk_attention/chunk_attention.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/score_chunks/score_chunks.hpp"

namespace reprefill::engine {
namespace {

// Rows that go through a layer together, the most that the kernels take: bounds the activations of a long range.
constexpr std::uint32_t kBlockTokens = kernels::kMaxQueries;

/// Suffix lengths and blocks of prefill that products are tuned for; others take the next larger one's choice.
constexpr std::uint32_t kTunedRows[] = {1, 16, 32, 64, 128, 256, 512, 1024, 2048};

/// Elements of a row of each kind.
struct Widths {
  explicit Widths(const ModelGeometry& geometry)
      : hidden(static_cast<std::uint32_t>(geometry.hidden)),
        queries(static_cast<std::uint32_t>(geometry.num_query_heads * geometry.head_dim)),
        kv(static_cast<std::uint32_t>(geometry.num_kv_heads * geometry.head_dim)),
        qkv(queries + 2 * kv),
        intermediate(static_cast<std::uint32_t>(geometry.intermediate)),
        vocab(static_cast<std::uint32_t>(geometry.vocab)) {}
  std::uint32_t hidden, queries, kv, qkv, intermediate, vocab;
};

/// Elements of the activations of one block, which all layers share.
std::size_t block_elements(const Widths& w) {
  return kBlockTokens * (std::size_t{w.hidden} + w.qkv + w.queries + 3 * std::size_t{w.intermediate});
}

template <typename Use>
void for_blocks(OwnRange range, Use&& use) {
  for (std::uint32_t done = 0; done < range.count; done += kBlockTokens) {
    use(OwnRange{range.first + done, std::min(kBlockTokens, range.count - done)});
  }
}

void check_shape(const ModelGeometry& geometry) {
  const auto refuse = [&](const char* key, int found, const char* allowed) {
    throw ConfigError(fmt::format("{}: {} is {}; the GPU kernels have {} (the CPU executor takes any)", geometry.name,
                                  key, found, allowed));
  };
  if (geometry.head_dim != 64 && geometry.head_dim != 128) refuse("head_dim", geometry.head_dim, "64 and 128");
  if (geometry.group_size() > 16) refuse("query heads per KV head", geometry.group_size(), "1 to 16");
  if (geometry.hidden % 8 != 0) refuse("hidden_size", geometry.hidden, "multiples of 8");
  if (geometry.intermediate % 8 != 0) refuse("intermediate_size", geometry.intermediate, "multiples of 8");
}

/// Refuses what cannot fit before anything is allocated.
void check_memory(const Checkpoint& checkpoint, const Gpu& gpu) {
  const GpuMemoryPlan plan = plan_gpu_memory(checkpoint);
  const Bytes free = gpu.free_memory();
  if (plan.weights + plan.activations <= free) return;
  throw ConfigError(fmt::format("{} needs {} bytes for weights and {} for activations on {}; {} of {} are free",
                                checkpoint.geometry().name, plan.weights.value, plan.activations.value, gpu.name(),
                                free.value, gpu.total_memory().value));
}

/// A request's memory: one block of the cache, moved to a larger one when decoding outgrows it.
class CudaSequence final : public Sequence {
 public:
  CudaSequence(const ModelGeometry& geometry, std::uint32_t first_position, PositionGap gap)
      : widths_(geometry),
        num_layers_(static_cast<std::size_t>(geometry.num_layers)),
        first_position_(first_position),
        gap_(gap) {}

  std::uint32_t first_position() const override { return first_position_; }
  std::uint32_t num_own_tokens() const override { return static_cast<std::uint32_t>(ids_.size()); }

  void add_tokens(std::span<const std::int32_t> ids, Gpu& gpu, GpuBlockCache& blocks, cudaStream_t stream) {
    const std::size_t count = ids_.size() + ids.size();
    if (count > capacity_) grow(count, gpu, blocks, stream);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    progress_.resize(ids_.size());
  }
  void keep_tokens(std::uint32_t count) {
    REPREFILL_CHECK(count > 0 && count <= ids_.size(), "{} of {} own tokens are to be kept", count, ids_.size());
    ids_.resize(count);
    progress_.resize(count);
  }

  std::span<const std::int32_t> ids(OwnRange range) const { return std::span(ids_).subspan(range.first, range.count); }
  LayerProgress& progress() { return progress_; }
  PositionGap gap() const { return gap_; }
  /// Most stored tokens that its own ones may attend to.
  std::uint32_t num_stored_tokens() const { return first_position_ + gap_.num_tokens; }
  BFloat16* hidden(std::uint32_t token) const { return at(0) + std::size_t{token} * widths_.hidden; }
  /// Of the layer that was projected last.
  BFloat16* queries(std::uint32_t token) const {
    return at(capacity_ * widths_.hidden) + std::size_t{token} * widths_.queries;
  }
  BFloat16* keys(int layer_idx) const { return kv(2 * static_cast<std::size_t>(layer_idx)); }
  BFloat16* values(int layer_idx) const { return kv(2 * static_cast<std::size_t>(layer_idx) + 1); }
  std::shared_ptr<const std::byte> memory() const { return memory_; }

  std::shared_ptr<std::byte> last_logits;  // fp32 [vocab], device

 private:
  BFloat16* at(std::size_t element) const { return reinterpret_cast<BFloat16*>(memory_.get()) + element; }
  BFloat16* kv(std::size_t tensor) const {
    return at(capacity_ * (std::size_t{widths_.hidden} + widths_.queries + tensor * widths_.kv));
  }
  /// Tensors keep their order; each gets a longer place.
  void grow(std::size_t count, Gpu& gpu, GpuBlockCache& blocks, cudaStream_t stream) {
    const CudaSequence old = *this;
    capacity_ = (count + count / 8 + 64) / 8 * 8;
    memory_ = blocks.take(Bytes{capacity_ * sizeof(BFloat16) *
                                (std::size_t{widths_.hidden} + widths_.queries + 2 * num_layers_ * widths_.kv)});
    if (old.ids_.empty()) return;
    const auto move = [&](BFloat16* to, const BFloat16* from, std::uint32_t width) {
      gpu.copy(to, from, Bytes{ids_.size() * width * sizeof(BFloat16)}, stream);
    };
    move(hidden(0), old.hidden(0), widths_.hidden);
    for (std::size_t tensor = 0; tensor < 2 * num_layers_; ++tensor) move(kv(tensor), old.kv(tensor), widths_.kv);
  }

  Widths widths_;
  std::size_t num_layers_;
  std::uint32_t first_position_;
  PositionGap gap_;
  std::vector<std::int32_t> ids_;
  LayerProgress progress_;
  std::size_t capacity_ = 0;
  std::shared_ptr<std::byte> memory_;  // hidden, queries, then K and V of each layer: [capacity] rows each
};

}  // namespace

GpuMemoryPlan plan_gpu_memory(const Checkpoint& checkpoint) {
  return {.weights = GpuWeights::size(checkpoint),
          .activations = Bytes{block_elements(Widths(checkpoint.geometry())) * sizeof(BFloat16)}};
}

struct CudaExecutor::Impl {
  Impl(const Checkpoint& opened, std::unique_ptr<Gpu> device)
      : checkpoint(opened),
        geometry(opened.geometry()),
        widths(geometry),
        rope(opened.config()),
        gpu(std::move(device)),
        stream((check_shape(geometry), check_memory(opened, *gpu), *gpu)),
        weights(*gpu, opened),
        blocks(*gpu, GpuBlockCache::Kind::device),
        pinned(*gpu, GpuBlockCache::Kind::pinned),
        uploads(*gpu, stream),
        activations(*gpu, block_elements(widths)),
        inverse_frequencies(*gpu, rope.inverse_frequencies().size()),
        argmax_workspace(*gpu, kernels::kArgmaxWorkspace),
        digest_score(*gpu, geometry) {
    normed = activations.data();
    qkv = normed + kBlockTokens * std::size_t{widths.hidden};
    mixed = qkv + kBlockTokens * std::size_t{widths.qkv};
    gate_up = mixed + kBlockTokens * std::size_t{widths.queries};
    activated = gate_up + kBlockTokens * 2 * std::size_t{widths.intermediate};
    const std::span<const float> frequencies = rope.inverse_frequencies();
    gpu->copy(inverse_frequencies.data(), frequencies.data(), Bytes{frequencies.size_bytes()}, stream);
    gpu->zero(argmax_workspace.data(), Bytes{argmax_workspace.size() * sizeof(std::uint64_t)}, stream);
    tune();
    gpu->synchronize(stream);
  }

  /// Every product at the sizes of suffixes and of prefill blocks.
  void tune() {
    gpu->zero(activations.data(), Bytes{activations.size() * sizeof(BFloat16)}, stream);
    const auto of_layers = [this](const BFloat16* GpuLayerWeights::*member) {
      std::vector<const BFloat16*> all;
      for (int layer = 0; layer < geometry.num_layers; ++layer) all.push_back(weights.layer(layer).*member);
      return all;
    };
    const auto tune_layers = [&](const BFloat16* GpuLayerWeights::*member, MatrixProduct product) {
      const std::vector<const BFloat16*> all = of_layers(member);
      product.weights = all.front();
      for (const std::uint32_t rows : kTunedRows) {
        product.rows = rows;
        gpu->tune(product, all, stream);
      }
    };
    tune_layers(&GpuLayerWeights::qkv, {.input = normed, .out = qkv, .inputs = widths.hidden, .outputs = widths.qkv});
    tune_layers(&GpuLayerWeights::output,
                {.input = mixed, .out = normed, .adds = true, .inputs = widths.queries, .outputs = widths.hidden});
    tune_layers(&GpuLayerWeights::gate_up,
                {.input = normed, .out = gate_up, .inputs = widths.hidden, .outputs = 2 * widths.intermediate});
    tune_layers(
        &GpuLayerWeights::down,
        {.input = activated, .out = normed, .adds = true, .inputs = widths.intermediate, .outputs = widths.hidden});
    const std::shared_ptr<std::byte> logits = blocks.take(Bytes{widths.vocab * sizeof(float)});
    const BFloat16* head = weights.lm_head();
    gpu->tune({.weights = head,
               .input = normed,
               .out = logits.get(),
               .out_is_fp32 = true,
               .rows = 1,
               .inputs = widths.hidden,
               .outputs = widths.vocab},
              {&head, 1}, stream);
  }

  void embed(CudaSequence& sequence, OwnRange range) {
    const std::span<const std::int32_t> ids = sequence.ids(range);
    std::memcpy(uploads.begin(Bytes{ids.size_bytes()}), ids.data(), ids.size_bytes());
    kernels::launch_embedding({.ids = reinterpret_cast<const std::int32_t*>(uploads.send()),
                               .table = weights.embedding(),
                               .out = sequence.hidden(range.first),
                               .num_tokens = range.count,
                               .vocab = widths.vocab,
                               .hidden = widths.hidden},
                              stream);
  }

  void normalise(BFloat16* hidden, const BFloat16* weight, std::uint32_t num_tokens) {
    kernels::launch_rmsnorm({.x = hidden,
                             .weight = weight,
                             .out = normed,
                             .num_tokens = num_tokens,
                             .hidden = widths.hidden,
                             .eps = static_cast<float>(checkpoint.config().rms_norm_eps)},
                            stream);
  }

  void project(CudaSequence& sequence, int layer_idx, OwnRange range) {
    sequence.progress().project(range, layer_idx);
    if (layer_idx == 0) embed(sequence, range);
    const GpuLayerWeights& layer = weights.layer(layer_idx);
    normalise(sequence.hidden(range.first), layer.input_norm, range.count);
    gpu->multiply({.weights = layer.qkv,
                   .input = normed,
                   .out = qkv,
                   .rows = range.count,
                   .inputs = widths.hidden,
                   .outputs = widths.qkv},
                  stream);
    const std::uint32_t end = range.first + range.count;
    const std::uint32_t cut = std::clamp(sequence.gap().after_tokens, range.first, end);
    rotate(sequence, layer_idx, range.first, {range.first, cut - range.first}, sequence.first_position());
    rotate(sequence, layer_idx, range.first, {cut, end - cut}, sequence.num_stored_tokens());
  }

  /// `position`: where the first own token would stand. The products' rows begin with token `first_row`.
  void rotate(CudaSequence& sequence, int layer_idx, std::uint32_t first_row, OwnRange range, std::uint32_t position) {
    if (range.count == 0) return;
    kernels::launch_rope_append({.qkv = qkv + std::size_t{range.first - first_row} * widths.qkv,
                                 .bias = weights.layer(layer_idx).qkv_bias,
                                 .inverse_frequencies = inverse_frequencies.data(),
                                 .attention_scaling = rope.attention_scaling(),
                                 .queries = sequence.queries(range.first),
                                 .own_keys = sequence.keys(layer_idx),
                                 .own_values = sequence.values(layer_idx),
                                 .num_tokens = range.count,
                                 .first_own_token = range.first,
                                 .first_position = position,
                                 .num_query_heads = geometry.num_query_heads,
                                 .num_kv_heads = geometry.num_kv_heads,
                                 .head_dim = geometry.head_dim},
                                stream);
  }

  void attend(CudaSequence& sequence, int layer_idx, OwnRange range, const kernels::PagedKv& prefix) {
    sequence.progress().attend(range, layer_idx);
    kernels::ChunkAttention attention{.queries = sequence.queries(range.first),
                                      .prefix = prefix,
                                      .own_keys = sequence.keys(layer_idx),
                                      .own_values = sequence.values(layer_idx),
                                      .out = mixed,
                                      .num_queries = range.count,
                                      .first_query = range.first,
                                      .num_query_heads = geometry.num_query_heads,
                                      .num_kv_heads = geometry.num_kv_heads,
                                      .head_dim = geometry.head_dim,
                                      .scale = scale()};
    attention.workspace_bytes = kernels::chunk_attention_workspace_bytes(attention);
    const std::shared_ptr<std::byte> workspace = blocks.take(Bytes{attention.workspace_bytes});
    if (attention.workspace_bytes > 0) attention.workspace = workspace.get();
    kernels::launch_chunk_attention(attention, stream);
    const GpuLayerWeights& layer = weights.layer(layer_idx);
    gpu->multiply({.weights = layer.output,
                   .input = mixed,
                   .out = sequence.hidden(range.first),
                   .adds = true,
                   .rows = range.count,
                   .inputs = widths.queries,
                   .outputs = widths.hidden},
                  stream);
    feed_forward(sequence.hidden(range.first), layer, range.count);
  }

  void feed_forward(BFloat16* hidden, const GpuLayerWeights& layer, std::uint32_t num_tokens) {
    normalise(hidden, layer.post_attention_norm, num_tokens);
    gpu->multiply({.weights = layer.gate_up,
                   .input = normed,
                   .out = gate_up,
                   .rows = num_tokens,
                   .inputs = widths.hidden,
                   .outputs = 2 * widths.intermediate},
                  stream);
    kernels::launch_swiglu(
        {.gate_up = gate_up, .out = activated, .num_tokens = num_tokens, .intermediate = widths.intermediate}, stream);
    gpu->multiply({.weights = layer.down,
                   .input = activated,
                   .out = hidden,
                   .adds = true,
                   .rows = num_tokens,
                   .inputs = widths.intermediate,
                   .outputs = widths.hidden},
                  stream);
  }

  void score(CudaSequence& sequence, int layer_idx, const KeyView& keys, const ScoreShape& shape, std::span<float> out);
  void score_block(CudaSequence& sequence, kernels::ScoreChunks& scoring, OwnRange range);
  void next_token(CudaSequence& sequence, std::int32_t& id);
  float scale() const { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(geometry.head_dim))); }

  const Checkpoint& checkpoint;
  const ModelGeometry& geometry;
  Widths widths;
  Rope rope;
  std::unique_ptr<Gpu> gpu;
  GpuStream stream;
  GpuWeights weights;
  GpuBlockCache blocks;
  GpuBlockCache pinned;
  UploadRing uploads;
  GpuArray<BFloat16> activations;
  GpuArray<float> inverse_frequencies;
  GpuArray<std::uint64_t> argmax_workspace;
  GpuArray<std::byte> score_workspace;
  HostDigestScore digest_score;
  BFloat16 *normed = nullptr, *qkv = nullptr, *mixed = nullptr, *gate_up = nullptr, *activated = nullptr;
};

void CudaExecutor::Impl::score(CudaSequence& sequence, int layer_idx, const KeyView& keys, const ScoreShape& shape,
                               std::span<float> out) {
  sequence.progress().check_scored(layer_idx);
  if (shape.digest != KeyDigest::none) {
    digest_score.score(
        {.queries = sequence.queries(0), .keys = sequence.keys(layer_idx), .count = sequence.num_own_tokens()}, keys,
        shape, scale(), stream, out);
    return;
  }
  const std::vector<HeadGroup> groups = head_groups(geometry, shape);
  REPREFILL_CHECK(keys.num_heads == num_key_heads(groups), "keys of {} heads; {} are scored", keys.num_heads,
                  num_key_heads(groups));
  const bool sums = shape.grouping == traces::HeadGrouping::all_heads;
  const std::uint32_t num_units = keys.num_tokens / shape.unit_tokens;
  const std::size_t num_out = (sums ? 1 : groups.size()) * num_units;
  REPREFILL_CHECK(out.size() == num_out, "{} places for {} scores", out.size(), num_out);
  if (keys.num_tokens == 0) return;
  kernels::ScoreChunks scoring{.prefix = upload_keys(uploads, keys, shape.unit_tokens, geometry.head_dim),
                               .own_keys = sequence.keys(layer_idx),
                               .num_query_heads = geometry.num_query_heads,
                               .num_kv_heads = geometry.num_kv_heads,
                               .head_dim = geometry.head_dim,
                               .scale = scale(),
                               .num_groups = static_cast<int>(groups.size()),
                               .heads_per_group = groups.front().num_heads,
                               .sum_groups = sums,
                               .token_stride = keys.num_tokens,
                               .chunk_stride = num_units};
  for (std::size_t i = 0; i < groups.size(); ++i) {
    scoring.groups[i] = {
        .first_query_head = groups[i].first_head, .stored_head = groups[i].stored_head, .own_head = groups[i].own_head};
  }
  const std::shared_ptr<std::byte> tokens = blocks.take(Bytes{groups.size() * keys.num_tokens * sizeof(float)});
  const std::shared_ptr<std::byte> units = blocks.take(Bytes{num_out * sizeof(float)});
  scoring.token_scores = reinterpret_cast<float*>(tokens.get());
  scoring.chunk_scores = reinterpret_cast<float*>(units.get());
  for_blocks({0, sequence.num_own_tokens()}, [&](OwnRange range) { score_block(sequence, scoring, range); });
  gpu->copy(out.data(), units.get(), Bytes{out.size_bytes()}, stream);
}

void CudaExecutor::Impl::score_block(CudaSequence& sequence, kernels::ScoreChunks& scoring, OwnRange range) {
  scoring.queries = sequence.queries(range.first);
  scoring.num_queries = range.count;
  scoring.first_query = range.first;
  scoring.accumulate = range.first > 0;
  scoring.workspace_bytes = kernels::score_chunks_workspace_bytes(scoring);
  if (score_workspace.size() < scoring.workspace_bytes) {
    gpu->synchronize(stream);
    score_workspace = GpuArray<std::byte>(*gpu, 2 * scoring.workspace_bytes);
    gpu->zero(score_workspace.data(), Bytes{score_workspace.size()}, stream);
  }
  scoring.workspace = score_workspace.data();
  kernels::launch_score_chunks(scoring, stream);
}

void CudaExecutor::Impl::next_token(CudaSequence& sequence, std::int32_t& id) {
  const std::uint32_t last = sequence.num_own_tokens() - 1;
  sequence.progress().check_finished({last, 1}, geometry.num_layers);
  normalise(sequence.hidden(last), weights.final_norm(), 1);
  if (!sequence.last_logits) sequence.last_logits = blocks.take(Bytes{widths.vocab * sizeof(float)});
  auto* logits = reinterpret_cast<float*>(sequence.last_logits.get());
  gpu->multiply({.weights = weights.lm_head(),
                 .input = normed,
                 .out = logits,
                 .out_is_fp32 = true,
                 .rows = 1,
                 .inputs = widths.hidden,
                 .outputs = widths.vocab},
                stream);
  const std::shared_ptr<std::byte> highest = blocks.take(Bytes{sizeof id});
  kernels::launch_argmax({.logits = logits,
                          .count = widths.vocab,
                          .id = reinterpret_cast<std::int32_t*>(highest.get()),
                          .workspace = argmax_workspace.data()},
                         stream);
  gpu->copy(&id, highest.get(), Bytes{sizeof id}, stream);
}

CudaExecutor::CudaExecutor(const Checkpoint& checkpoint, std::unique_ptr<Gpu> gpu)
    : impl_(std::make_unique<Impl>(checkpoint, std::move(gpu))) {}
CudaExecutor::~CudaExecutor() = default;

std::unique_ptr<Sequence> CudaExecutor::begin(std::span<const std::int32_t> own_ids, std::uint32_t first_position,
                                              PositionGap gap) {
  if (own_ids.empty()) throw ConfigError("a request needs at least one token of its own; it has none");
  auto sequence = std::make_unique<CudaSequence>(impl_->geometry, first_position, gap);
  check_tokens(impl_->checkpoint.config(), own_ids, sequence->num_stored_tokens(),
               static_cast<std::uint32_t>(own_ids.size()));
  sequence->add_tokens(own_ids, *impl_->gpu, impl_->blocks, impl_->stream);
  return sequence;
}

void CudaExecutor::project(Sequence& sequence, int layer_idx, OwnRange range) {
  for_blocks(range, [&](OwnRange block) { impl_->project(static_cast<CudaSequence&>(sequence), layer_idx, block); });
}

void CudaExecutor::score(Sequence& sequence, int layer_idx, const KeyView& keys, const ScoreShape& shape,
                         std::span<float> out) {
  impl_->score(static_cast<CudaSequence&>(sequence), layer_idx, keys, shape, out);
}

void CudaExecutor::attend(Sequence& sequence, int layer_idx, OwnRange range, const KvView& view) {
  const std::uint32_t num_stored = static_cast<CudaSequence&>(sequence).num_stored_tokens();
  REPREFILL_CHECK(view.num_tokens <= num_stored, "a view of {} tokens of a prefix of {}", view.num_tokens, num_stored);
  const kernels::PagedKv prefix =
      upload_view(impl_->uploads, view, impl_->geometry.num_kv_heads, impl_->geometry.head_dim);
  for_blocks(range,
             [&](OwnRange block) { impl_->attend(static_cast<CudaSequence&>(sequence), layer_idx, block, prefix); });
}

void CudaExecutor::next_token(Sequence& sequence, std::int32_t& id) {
  impl_->next_token(static_cast<CudaSequence&>(sequence), id);
}

void CudaExecutor::decode(Sequence& sequence, std::int32_t id, std::span<const KvView> views, std::int32_t& next_id) {
  auto& own = static_cast<CudaSequence&>(sequence);
  REPREFILL_CHECK(views.size() == static_cast<std::size_t>(impl_->geometry.num_layers), "{} views for {} layers",
                  views.size(), impl_->geometry.num_layers);
  check_tokens(impl_->checkpoint.config(), {&id, 1}, own.num_stored_tokens(), own.num_own_tokens() + 1);
  own.add_tokens({&id, 1}, *impl_->gpu, impl_->blocks, impl_->stream);
  const OwnRange last = {own.num_own_tokens() - 1, 1};
  for (int layer_idx = 0; layer_idx < impl_->geometry.num_layers; ++layer_idx) {
    project(own, layer_idx, last);
    attend(own, layer_idx, last, views[static_cast<std::size_t>(layer_idx)]);
  }
  impl_->next_token(own, next_id);
}

void CudaExecutor::last_logits(const Sequence& sequence, std::span<float> out) {
  const auto& own = static_cast<const CudaSequence&>(sequence);
  REPREFILL_CHECK(own.last_logits != nullptr && out.size() == impl_->widths.vocab, "{} places for {} logits",
                  out.size(), own.last_logits == nullptr ? 0 : impl_->widths.vocab);
  impl_->gpu->copy(out.data(), own.last_logits.get(), Bytes{out.size_bytes()}, impl_->stream);
}

void CudaExecutor::rewind(Sequence& sequence, std::uint32_t num_own_tokens) {
  static_cast<CudaSequence&>(sequence).keep_tokens(num_own_tokens);
}

OwnKvBytes CudaExecutor::own_kv(const Sequence& sequence, int layer_idx, OwnRange range) {
  const auto& own = static_cast<const CudaSequence&>(sequence);
  REPREFILL_CHECK(std::uint64_t{range.first} + range.count <= own.num_own_tokens(), "own tokens [{}, +{}) of {}",
                  range.first, range.count, own.num_own_tokens());
  const std::size_t first = std::size_t{range.first} * impl_->widths.kv;
  return {.keys = reinterpret_cast<const std::byte*>(own.keys(layer_idx) + first),
          .values = reinterpret_cast<const std::byte*>(own.values(layer_idx) + first),
          .bytes = Bytes{range.count * impl_->widths.kv * sizeof(BFloat16)},
          .memory = own.memory()};
}

void CudaExecutor::copy_own_kv(const Sequence& sequence, int layer_idx, OwnRange range, std::span<std::byte> keys,
                               std::span<std::byte> values) {
  const OwnKvBytes kv = own_kv(sequence, layer_idx, range);
  REPREFILL_CHECK(keys.size() == kv.bytes.value && values.size() == kv.bytes.value, "{} and {} bytes for K and V of {}",
                  keys.size(), values.size(), kv.bytes.value);
  impl_->gpu->copy(keys.data(), kv.keys, kv.bytes, impl_->stream);
  impl_->gpu->copy(values.data(), kv.values, kv.bytes, impl_->stream);
}

void CudaExecutor::synchronize() { impl_->gpu->synchronize(impl_->stream); }

std::shared_ptr<const std::byte> CudaExecutor::upload(std::span<const std::byte> host) {
  std::shared_ptr<std::byte> memory = impl_->blocks.take(Bytes{host.size()});
  impl_->gpu->copy(memory.get(), host.data(), Bytes{host.size()}, impl_->stream);
  return memory;
}

std::shared_ptr<std::byte> CudaExecutor::host_buffer(Bytes size) { return impl_->pinned.take(size); }
Gpu* CudaExecutor::gpu() { return impl_->gpu.get(); }
cudaStream_t CudaExecutor::stream() const { return impl_->stream; }
const Checkpoint& CudaExecutor::checkpoint() const { return impl_->checkpoint; }
std::string CudaExecutor::describe() const { return impl_->gpu->name(); }

}  // namespace reprefill::engine
