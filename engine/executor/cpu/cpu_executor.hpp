// The forward pass of a Qwen2 decoder on the CPU, cut where a Re-Prefill pipeline decides: project, score, attend. Also
// the numerical reference of the CUDA executor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/kv_view.hpp"
#include "core/base/units.hpp"
#include "engine/checkpoint/checkpoint.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::engine {

struct CpuExecutorOptions {
  int num_threads = 0;  // 0: the cores that this process may use
  KvType kv_type = KvType::bf16;
  Bytes weight_cache{std::uint64_t{4} << 30};  // widened fp32 copies of weights are kept while they fit
};

/// Own tokens of a request, [first, first + count): 0 is the first token that is computed, not loaded.
struct OwnRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

/// Own tokens from `after_tokens` on stand behind `num_tokens` stored ones, those before in front of them.
struct PositionGap {
  std::uint32_t after_tokens = 0;
  std::uint32_t num_tokens = 0;
};

/// One request inside an executor: hidden states of its own tokens and, layer by layer, their queries, K and V.
class Sequence {
 public:
  virtual ~Sequence() = default;
  virtual std::uint32_t first_position() const = 0;  // stored tokens before the first own one
  virtual std::uint32_t num_own_tokens() const = 0;  // grows by one with each decoded token
};

/// Not thread-safe: one thread calls; the executor spreads the work over its own, and sets the BLAS of the process to
/// one thread. On one machine results are bit-identical from run to run, for any number of threads, any weight cache,
/// any blocks of prefill, and any split of a fully kept prefix into stored and own tokens. `decode` and `logits` of the
/// last token sum in another order than `project`, `attend` and `logits` of a range.
class CpuExecutor {
 public:
  CpuExecutor(const Checkpoint& checkpoint, const CpuExecutorOptions& options);
  ~CpuExecutor();

  /// Throws ConfigError for an id outside the vocabulary or positions beyond the model's limit, with the numbers.
  std::unique_ptr<Sequence> begin(std::span<const std::int32_t> own_ids, std::uint32_t first_position,
                                  PositionGap gap = {});

  /// Layer `layer_idx` of these own tokens: embedding (layer 0), norm, QKV, RoPE; K and V rounded to the store's type.
  void project(Sequence& sequence, int layer_idx, OwnRange range);

  /// Attention mass of the stored prefix (design 8): softmax over prefix and causal own keys, scale 1/sqrt(head_dim),
  /// summed over all own tokens. out: [groups][keys.num_tokens]:
  ///   all_heads    one group: summed over all query heads
  ///   per_kv_head  a group per KV head: summed over its query heads
  ///   probe_heads  a group per entry of `probe_heads` (query heads); keys hold only the KV heads that these read, in
  ///                ascending order (layout::StoreLayout, probe_keys)
  /// Sums in a fixed order. Needs `project` of all own tokens of the layer, and none of later ones.
  void score(Sequence& sequence, int layer_idx, const KeyView& keys, traces::HeadGrouping grouping,
             std::span<const int> probe_heads, std::span<float> out);

  /// Attention of these own tokens over the view and, causally, over all own tokens before them; output projection,
  /// residual, MLP. Needs `project` of the layer up to the end of `range`.
  void attend(Sequence& sequence, int layer_idx, OwnRange range, const KvView& view);

  /// Final norm and logits of the last own token: [vocab]. Needs `attend` of the last layer.
  void logits(Sequence& sequence, std::span<float> out);
  /// Logits of every own token in the range, [count][vocab]: what log-likelihoods need.
  void logits(Sequence& sequence, OwnRange range, std::span<float> out);

  /// One more own token through all layers; views[layer] is what it sees of the prefix. Returns its logits.
  void decode(Sequence& sequence, std::int32_t id, std::span<const KvView> views, std::span<float> out);

  /// Forgets own tokens after the first `num_own_tokens`, so that another continuation can be decoded.
  void rewind(Sequence& sequence, std::uint32_t num_own_tokens);

  /// K and V of own tokens in one layer, in the store's type, [count][num_kv_heads][head_dim] each.
  void copy_own_kv(const Sequence& sequence, int layer_idx, OwnRange range, std::span<std::byte> keys,
                   std::span<std::byte> values) const;

  const Checkpoint& checkpoint() const;
  KvType kv_type() const;
  int num_threads() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The highest logit's id; ties go to the lower id. Throws InvariantError on NaN.
std::int32_t argmax(std::span<const float> logits);

}  // namespace reprefill::engine
