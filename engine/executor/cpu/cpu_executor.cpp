#include "engine/executor/cpu/cpu_executor.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "core/base/bfloat16.hpp"
#include "core/base/error.hpp"
#include "engine/executor/cpu/attention.hpp"
#include "engine/executor/cpu/cpu_sequence.hpp"
#include "engine/executor/cpu/digest_score.hpp"
#include "engine/executor/cpu/linear.hpp"
#include "engine/executor/cpu/score.hpp"

namespace reprefill::engine {
namespace {

// Rows that go through a layer together: bounds the activations of a long range. Rows are independent, so it changes no
// bit.
constexpr std::uint32_t kBlockTokens = 2048;
constexpr std::size_t kTokensPerTask = 16;  // of row-wise work

std::vector<float> widen_vector(const Kernels& kernels, const WeightView& view) {
  std::vector<float> values(static_cast<std::size_t>(view.rows * view.columns));
  kernels.widen(stored_type(view.type), view.data, values.size(), values.data());
  return values;
}

void round_to(KvType type, std::span<const float> values, std::byte* out) {
  if (type == KvType::fp32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  for (const float value : values) {
    const std::uint16_t bits = BFloat16::round(value).bits;
    std::memcpy(out, &bits, sizeof bits);
    out += sizeof bits;
  }
}

struct Layer {
  std::vector<float> input_norm, post_attention_norm;
  LinearWeights q, k, v, o, gate, up, down;
  std::vector<float> q_bias, k_bias, v_bias;
};

/// out [groups / num_summed][tokens / unit_tokens] of columns [groups][tokens]: `num_summed` neighbouring groups and
/// the tokens of a unit are summed.
void sum_columns(std::span<const double> columns, std::size_t num_tokens, std::size_t num_summed,
                 std::size_t unit_tokens, std::span<float> out) {
  const std::size_t num_units = num_tokens / unit_tokens;
  REPREFILL_CHECK(num_units * unit_tokens == num_tokens, "{} tokens in units of {}", num_tokens, unit_tokens);
  const std::size_t num_groups = num_tokens == 0 ? 0 : columns.size() / num_tokens / num_summed;
  REPREFILL_CHECK(out.size() == num_groups * num_units, "{} places for {} scores", out.size(), num_groups * num_units);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t first = i / num_units * num_summed * num_tokens + i % num_units * unit_tokens;
    double sum = 0;
    for (std::size_t token = 0; token < unit_tokens; ++token) {
      for (std::size_t group = 0; group < num_summed; ++group) sum += columns[first + group * num_tokens + token];
    }
    out[i] = static_cast<float>(sum);
  }
}

template <typename Use>
void for_blocks(OwnRange range, Use&& use) {
  for (std::uint32_t done = 0; done < range.count; done += kBlockTokens) {
    use(OwnRange{range.first + done, std::min(kBlockTokens, range.count - done)});
  }
}

}  // namespace

struct CpuExecutor::Impl {
  Impl(const Checkpoint& weights, const CpuExecutorOptions& wanted)
      : checkpoint(weights),
        geometry(weights.geometry()),
        options(wanted),
        kernels(best_kernels()),
        pool(wanted.num_threads),
        linear(pool, kernels),
        rope(weights.config()),
        eps(static_cast<float>(weights.config().rms_norm_eps)),
        scale(static_cast<float>(1.0 / std::sqrt(static_cast<double>(weights.geometry().head_dim)))),
        query_size(static_cast<std::size_t>(geometry.num_query_heads) * static_cast<std::size_t>(geometry.head_dim)),
        kv_size(static_cast<std::size_t>(geometry.num_kv_heads) * static_cast<std::size_t>(geometry.head_dim)),
        hidden(static_cast<std::size_t>(geometry.hidden)),
        intermediate(static_cast<std::size_t>(geometry.intermediate)),
        final_norm(widen_vector(kernels, weights.final_norm())),
        lm_head(weights.lm_head()) {
    layers.reserve(static_cast<std::size_t>(geometry.num_layers));
    for (int layer_idx = 0; layer_idx < geometry.num_layers; ++layer_idx) add_layer(weights.layer(layer_idx));
    grant_weight_cache();
  }

  void add_layer(const LayerWeights& from) {
    layers.push_back({.input_norm = widen_vector(kernels, from.input_norm),
                      .post_attention_norm = widen_vector(kernels, from.post_attention_norm),
                      .q = LinearWeights(from.q_weight),
                      .k = LinearWeights(from.k_weight),
                      .v = LinearWeights(from.v_weight),
                      .o = LinearWeights(from.o_weight),
                      .gate = LinearWeights(from.gate_weight),
                      .up = LinearWeights(from.up_weight),
                      .down = LinearWeights(from.down_weight),
                      .q_bias = widen_vector(kernels, from.q_bias),
                      .k_bias = widen_vector(kernels, from.k_bias),
                      .v_bias = widen_vector(kernels, from.v_bias)});
  }

  /// In order of use, while they fit; the head last, as most requests want one row of it only. Every layer is used once
  /// per pass, so evicting by age would keep none.
  void grant_weight_cache() {
    Bytes left = options.weight_cache;
    const auto grant = [&](LinearWeights& weights) {
      if (!weights.needs_widening() || weights.widened_bytes() > left) return;
      left -= weights.widened_bytes();
      weights.grant_cache();
    };
    for (Layer& layer : layers) {
      for (LinearWeights* weights : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
        grant(*weights);
      }
    }
    grant(lm_head);
  }

  Layer& layer(int layer_idx) {
    REPREFILL_CHECK(layer_idx >= 0 && layer_idx < geometry.num_layers, "layer {} of {}", layer_idx,
                    geometry.num_layers);
    return layers[static_cast<std::size_t>(layer_idx)];
  }

  /// Uninitialised rows, and those that tiles are padded with.
  static float* rows(std::vector<float>& buffer, std::uint32_t count, std::size_t width) {
    const std::size_t size = static_cast<std::size_t>(LinearLayers::padded_rows(static_cast<int>(count))) * width;
    if (buffer.size() < size) buffer.resize(size);
    return buffer.data();
  }

  template <typename Use>
  void for_tokens(OwnRange range, Use&& use) {
    pool.run(divide_rounding_up<std::size_t>(range.count, kTokensPerTask), [&](std::size_t task, int) {
      const std::size_t end = std::min<std::size_t>(range.count, (task + 1) * kTokensPerTask);
      for (std::size_t i = task * kTokensPerTask; i < end; ++i) use(static_cast<std::uint32_t>(i));
    });
  }

  void multiply(bool single_row, const float* input, std::size_t stride, std::uint32_t count,
                std::span<const LinearJob> jobs) {
    if (single_row) return linear.multiply_row(input, jobs);
    linear.multiply({input, stride, static_cast<int>(count)}, jobs);
  }

  void normalise(CpuSequence& sequence, OwnRange range, std::span<const float> weight, float* out) {
    for_tokens(range, [&](std::uint32_t i) {
      kernels.rms_norm(sequence.hidden(range.first + i), weight.data(), hidden, eps, out + i * hidden);
    });
  }

  void embed(CpuSequence& sequence, OwnRange range) {
    const WeightView& table = checkpoint.embedding();
    const Stored type = stored_type(table.type);
    const std::size_t row_bytes = hidden * (type == Stored::fp32 ? 4 : 2);
    for_tokens(range, [&](std::uint32_t i) {
      const auto id = static_cast<std::size_t>(sequence.id(range.first + i));
      kernels.widen(type, table.data + id * row_bytes, hidden, sequence.hidden(range.first + i));
    });
  }

  void project(CpuSequence& sequence, int layer_idx, OwnRange range, bool single_row);
  void rotate_and_round(CpuSequence& sequence, int layer_idx, std::uint32_t token, float* keys, const float* values);
  void attend(CpuSequence& sequence, int layer_idx, OwnRange range, const KvView& view, bool single_row);
  void score_by_digest(CpuSequence& sequence, int layer_idx, const KeyView& digests, const ScoreShape& shape,
                       std::span<float> out);
  void feed_forward(CpuSequence& sequence, Layer& weights, OwnRange range, bool single_row);
  void logits(CpuSequence& sequence, OwnRange range, std::span<float> out, bool single_row);
  void add_tokens(CpuSequence& sequence, std::span<const std::int32_t> ids) const;
  void keep_logits(CpuSequence& sequence, std::int32_t& id);

  const Checkpoint& checkpoint;
  const ModelGeometry& geometry;
  CpuExecutorOptions options;
  const Kernels& kernels;
  WorkerPool pool;
  LinearLayers linear;
  Rope rope;
  float eps;
  float scale;
  std::size_t query_size, kv_size, hidden, intermediate;
  std::vector<float> final_norm;
  LinearWeights lm_head;
  std::vector<Layer> layers;
  std::vector<float> normed, key_value, mixed, gate_up;  // activations of one block
};

void CpuExecutor::Impl::add_tokens(CpuSequence& sequence, std::span<const std::int32_t> ids) const {
  check_tokens(checkpoint.config(), ids, sequence.num_stored_tokens(),
               sequence.num_own_tokens() + static_cast<std::uint32_t>(ids.size()));
  sequence.add_tokens(ids, rope);
}

void CpuExecutor::Impl::project(CpuSequence& sequence, int layer_idx, OwnRange range, bool single_row) {
  Layer& weights = layer(layer_idx);
  sequence.progress().project(range, layer_idx);
  if (layer_idx == 0) embed(sequence, range);
  float* input = rows(normed, range.count, hidden);
  normalise(sequence, range, weights.input_norm, input);
  const std::size_t stride = 2 * kv_size;
  float* kv = rows(key_value, range.count, stride);
  const std::vector<LinearJob> jobs = {
      {.weights = &weights.q,
       .bias = weights.q_bias.data(),
       .out = sequence.queries(range.first),
       .out_stride = query_size},
      {.weights = &weights.k, .bias = weights.k_bias.data(), .out = kv, .out_stride = stride},
      {.weights = &weights.v, .bias = weights.v_bias.data(), .out = kv + kv_size, .out_stride = stride}};
  multiply(single_row, input, hidden, range.count, jobs);
  for_tokens(range, [&](std::uint32_t i) {
    rotate_and_round(sequence, layer_idx, range.first + i, kv + i * stride, kv + i * stride + kv_size);
  });
}

void CpuExecutor::Impl::rotate_and_round(CpuSequence& sequence, int layer_idx, std::uint32_t token, float* keys,
                                         const float* values) {
  const auto dim = static_cast<std::size_t>(geometry.head_dim);
  const std::span<const float> cosines = sequence.cosines(token);
  const std::span<const float> sines = sequence.sines(token);
  float* queries = sequence.queries(token);
  for (std::size_t i = 0; i < query_size; i += dim) rotate_half(queries + i, cosines, sines);
  for (std::size_t i = 0; i < kv_size; i += dim) rotate_half(keys + i, cosines, sines);
  round_to(options.kv_type, {keys, kv_size}, sequence.keys(layer_idx, token));
  round_to(options.kv_type, {values, kv_size}, sequence.values(layer_idx, token));
}

void CpuExecutor::Impl::attend(CpuSequence& sequence, int layer_idx, OwnRange range, const KvView& view,
                               bool single_row) {
  Layer& weights = layer(layer_idx);
  REPREFILL_CHECK(view.num_tokens <= sequence.num_stored_tokens(), "a view of {} tokens of a prefix of {}",
                  view.num_tokens, sequence.num_stored_tokens());
  sequence.progress().attend(range, layer_idx);
  float* heads = rows(mixed, range.count, query_size);
  const KeyTiles keys({options.kv_type, geometry.num_kv_heads, geometry.head_dim}, view,
                      sequence.own_kv(layer_idx, range.first + range.count));
  engine::attend(pool, kernels, keys,
                 {.data = sequence.queries(range.first),
                  .first_token = range.first,
                  .count = range.count,
                  .num_query_heads = geometry.num_query_heads},
                 scale, heads, query_size);
  const LinearJob output = {
      .weights = &weights.o, .out = sequence.hidden(range.first), .out_stride = hidden, .store = Store::add};
  multiply(single_row, heads, query_size, range.count, {&output, 1});
  feed_forward(sequence, weights, range, single_row);
}

void CpuExecutor::Impl::feed_forward(CpuSequence& sequence, Layer& weights, OwnRange range, bool single_row) {
  float* input = rows(normed, range.count, hidden);
  normalise(sequence, range, weights.post_attention_norm, input);
  const std::size_t stride = 2 * intermediate;
  float* gate = rows(gate_up, range.count, stride);
  const std::vector<LinearJob> jobs = {{.weights = &weights.gate, .out = gate, .out_stride = stride},
                                       {.weights = &weights.up, .out = gate + intermediate, .out_stride = stride}};
  multiply(single_row, input, hidden, range.count, jobs);
  for_tokens(range, [&](std::uint32_t i) {
    kernels.swiglu(gate + i * stride, gate + i * stride + intermediate, intermediate);
  });
  const LinearJob down = {
      .weights = &weights.down, .out = sequence.hidden(range.first), .out_stride = hidden, .store = Store::add};
  multiply(single_row, gate, stride, range.count, {&down, 1});
}

void CpuExecutor::Impl::logits(CpuSequence& sequence, OwnRange range, std::span<float> out, bool single_row) {
  const auto vocab = static_cast<std::size_t>(geometry.vocab);
  REPREFILL_CHECK(out.size() == range.count * vocab, "{} places for logits of {} tokens", out.size(), range.count);
  sequence.progress().check_finished(range, geometry.num_layers);
  float* input = rows(normed, range.count, hidden);
  normalise(sequence, range, final_norm, input);
  const LinearJob head = {.weights = &lm_head, .out = out.data(), .out_stride = vocab};
  multiply(single_row, input, hidden, range.count, {&head, 1});
}

CpuExecutor::CpuExecutor(const Checkpoint& checkpoint, const CpuExecutorOptions& options)
    : impl_(std::make_unique<Impl>(checkpoint, options)) {}
CpuExecutor::~CpuExecutor() = default;

std::unique_ptr<Sequence> CpuExecutor::begin(std::span<const std::int32_t> own_ids, std::uint32_t first_position,
                                             PositionGap gap) {
  if (own_ids.empty()) throw ConfigError("a request needs at least one token of its own; it has none");
  auto sequence = std::make_unique<CpuSequence>(impl_->geometry, impl_->options.kv_type, first_position, gap);
  impl_->add_tokens(*sequence, own_ids);
  return sequence;
}

void CpuExecutor::project(Sequence& sequence, int layer_idx, OwnRange range) {
  for_blocks(range, [&](OwnRange block) {
    impl_->project(static_cast<CpuSequence&>(sequence), layer_idx, block, /*single_row=*/false);
  });
}

void CpuExecutor::score(Sequence& sequence, int layer_idx, const KeyView& keys, const ScoreShape& shape,
                        std::span<float> out) {
  auto& own = static_cast<CpuSequence&>(sequence);
  const OwnRange all = {0, own.num_own_tokens()};
  own.progress().check_scored(layer_idx);
  if (shape.digest != KeyDigest::none) return impl_->score_by_digest(own, layer_idx, keys, shape, out);
  const std::vector<HeadGroup> groups = head_groups(impl_->geometry, shape);
  REPREFILL_CHECK(keys.num_heads == num_key_heads(groups), "keys of {} heads; {} are scored", keys.num_heads,
                  num_key_heads(groups));
  const KeyTiles tiles({impl_->options.kv_type, impl_->geometry.num_kv_heads, impl_->geometry.head_dim}, keys,
                       own.own_kv(layer_idx, all.count));
  std::vector<double> columns(groups.size() * keys.num_tokens);
  score_columns(impl_->pool, impl_->kernels, tiles,
                {.data = own.queries(0), .count = all.count, .num_query_heads = impl_->geometry.num_query_heads},
                groups, impl_->scale, columns);
  const std::size_t num_summed = shape.grouping == traces::HeadGrouping::all_heads ? groups.size() : 1;
  sum_columns(columns, keys.num_tokens, num_summed, shape.unit_tokens, out);
}

void CpuExecutor::Impl::score_by_digest(CpuSequence& sequence, int layer_idx, const KeyView& digests,
                                        const ScoreShape& shape, std::span<float> out) {
  const std::uint32_t count = sequence.num_own_tokens();
  OwnRows own{.queries = sequence.queries(0),
              .keys = std::vector<float>(count * kv_size),
              .count = count,
              .num_query_heads = geometry.num_query_heads};
  kernels.widen(options.kv_type == KvType::bf16 ? Stored::bf16 : Stored::fp32, sequence.keys(layer_idx, 0),
                own.keys.size(), own.keys.data());
  const std::size_t num_chunks = digests.num_tokens / shape.unit_tokens;
  std::vector<double> masses(static_cast<std::size_t>(geometry.num_kv_heads) * num_chunks);
  score_digests(pool, digest_shape(geometry, options.kv_type, shape), digests, own, scale, masses);
  const bool sums = shape.grouping == traces::HeadGrouping::all_heads;
  sum_columns(masses, num_chunks, sums ? static_cast<std::size_t>(geometry.num_kv_heads) : 1, 1, out);
}

void CpuExecutor::attend(Sequence& sequence, int layer_idx, OwnRange range, const KvView& view) {
  for_blocks(range, [&](OwnRange block) {
    impl_->attend(static_cast<CpuSequence&>(sequence), layer_idx, block, view, /*single_row=*/false);
  });
}

void CpuExecutor::Impl::keep_logits(CpuSequence& sequence, std::int32_t& id) {
  std::vector<float>& kept = sequence.last_logits();
  kept.resize(static_cast<std::size_t>(geometry.vocab));
  logits(sequence, {sequence.num_own_tokens() - 1, 1}, kept, /*single_row=*/true);
  const bool is_number = std::ranges::none_of(kept, [](float value) { return std::isnan(value); });
  id = is_number ? argmax(kept) : -1;
}

void CpuExecutor::next_token(Sequence& sequence, std::int32_t& id) {
  impl_->keep_logits(static_cast<CpuSequence&>(sequence), id);
}

void CpuExecutor::last_logits(const Sequence& sequence, std::span<float> out) {
  const std::vector<float>& kept = static_cast<const CpuSequence&>(sequence).last_logits();
  REPREFILL_CHECK(out.size() == kept.size(), "{} places for {} logits", out.size(), kept.size());
  std::ranges::copy(kept, out.begin());
}

void CpuExecutor::logits(Sequence& sequence, OwnRange range, std::span<float> out) {
  const auto vocab = static_cast<std::size_t>(impl_->geometry.vocab);
  REPREFILL_CHECK(out.size() == range.count * vocab, "{} places for logits of {} tokens", out.size(), range.count);
  for_blocks(range, [&](OwnRange block) {
    impl_->logits(static_cast<CpuSequence&>(sequence), block,
                  out.subspan((block.first - range.first) * vocab, block.count * vocab), /*single_row=*/false);
  });
}

void CpuExecutor::decode(Sequence& sequence, std::int32_t id, std::span<const KvView> views, std::int32_t& next_id) {
  auto& own = static_cast<CpuSequence&>(sequence);
  REPREFILL_CHECK(views.size() == static_cast<std::size_t>(impl_->geometry.num_layers), "{} views for {} layers",
                  views.size(), impl_->geometry.num_layers);
  impl_->add_tokens(own, {&id, 1});
  const OwnRange last = {own.num_own_tokens() - 1, 1};
  for (int layer_idx = 0; layer_idx < impl_->geometry.num_layers; ++layer_idx) {
    impl_->project(own, layer_idx, last, /*single_row=*/true);
    impl_->attend(own, layer_idx, last, views[static_cast<std::size_t>(layer_idx)], /*single_row=*/true);
  }
  impl_->keep_logits(own, next_id);
}

void CpuExecutor::rewind(Sequence& sequence, std::uint32_t num_own_tokens) {
  static_cast<CpuSequence&>(sequence).keep_tokens(num_own_tokens);
}

OwnKvBytes CpuExecutor::own_kv(const Sequence& sequence, int layer_idx, OwnRange range) {
  const auto& own = static_cast<const CpuSequence&>(sequence);
  REPREFILL_CHECK(std::uint64_t{range.first} + range.count <= own.num_own_tokens(), "own tokens [{}, +{}) of {}",
                  range.first, range.count, own.num_own_tokens());
  impl_->layer(layer_idx);
  return {.keys = own.keys(layer_idx, range.first),
          .values = own.values(layer_idx, range.first),
          .bytes = Bytes{range.count * own.kv_bytes_per_token()}};
}

void CpuExecutor::copy_own_kv(const Sequence& sequence, int layer_idx, OwnRange range, std::span<std::byte> keys,
                              std::span<std::byte> values) {
  const OwnKvBytes kv = own_kv(sequence, layer_idx, range);
  REPREFILL_CHECK(keys.size() == kv.bytes.value && values.size() == kv.bytes.value, "{} and {} bytes for K and V of {}",
                  keys.size(), values.size(), kv.bytes.value);
  std::memcpy(keys.data(), kv.keys, kv.bytes.value);
  std::memcpy(values.data(), kv.values, kv.bytes.value);
}

const Checkpoint& CpuExecutor::checkpoint() const { return impl_->checkpoint; }
KvType CpuExecutor::kv_type() const { return impl_->options.kv_type; }
int CpuExecutor::num_threads() const { return impl_->pool.num_threads(); }
std::string CpuExecutor::describe() const { return fmt::format("CPU, {} threads", num_threads()); }
std::shared_ptr<const std::byte> CpuExecutor::upload(std::span<const std::byte> host) {
  return {std::shared_ptr<const std::byte>(), host.data()};
}
std::shared_ptr<std::byte> CpuExecutor::host_buffer(Bytes size) {
  const std::shared_ptr<std::byte[]> memory(new std::byte[size.value]);
  return {memory, memory.get()};
}

}  // namespace reprefill::engine
