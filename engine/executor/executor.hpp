// The forward pass of a Qwen2 decoder, cut where a Re-Prefill pipeline decides: project, score, attend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/base/kv_view.hpp"
#include "core/base/units.hpp"
#include "engine/checkpoint/checkpoint.hpp"
#include "engine/executor/head_groups.hpp"
#include "engine/gpu/gpu.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::engine {

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

/// Where K and V of own tokens lie in one layer, for whoever copies them out in an order of its own.
struct OwnKvBytes {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  Bytes bytes = {};                              // of each
  std::shared_ptr<const std::byte> memory = {};  // keeps them where they are; null on the CPU
};

/// One request inside an executor: hidden states of its own tokens and, layer by layer, their queries, K and V.
class Sequence {
 public:
  virtual ~Sequence() = default;
  virtual std::uint32_t first_position() const = 0;  // stored tokens before the first own one
  virtual std::uint32_t num_own_tokens() const = 0;  // grows by one with each decoded token
};

/// Not thread-safe: one thread calls. Calls of an executor on a GPU return before their work is done, in the order of
/// one stream; what they write to host memory (`out`, `id`) is there after `synchronize`, or when an operation of the
/// machine that made the call is complete. Views name memory that `upload` gave or that the machine holds for it.
class Executor {
 public:
  virtual ~Executor() = default;

  /// Throws ConfigError for an id outside the vocabulary or positions beyond the model's limit, with the numbers.
  virtual std::unique_ptr<Sequence> begin(std::span<const std::int32_t> own_ids, std::uint32_t first_position,
                                          PositionGap gap) = 0;
  std::unique_ptr<Sequence> begin(std::span<const std::int32_t> own_ids, std::uint32_t first_position) {
    return begin(own_ids, first_position, {});
  }

  /// Layer `layer_idx` of these own tokens: embedding (layer 0), norm, QKV, RoPE; K and V rounded to the store's type.
  virtual void project(Sequence& sequence, int layer_idx, OwnRange range) = 0;

  /// Attention mass of the stored prefix (design 8): softmax over prefix and causal own keys, scale 1/sqrt(head_dim),
  /// summed over all own tokens and over the tokens of a unit. Groups:
  ///   all_heads    one: summed over all query heads
  ///   per_kv_head  one per KV head: summed over its query heads
  ///   probe_heads  one per entry of `probe_heads` (query heads); keys hold only the KV heads that these read, in
  ///                ascending order (layout::StoreLayout, probe_keys)
  /// With a digest in `shape`, pages hold that of a segment's keys instead of keys (engine/digest), and
  /// cpu/digest_score says what is summed; an executor on a GPU computes it on the host and has then waited for it.
  /// Sums in a fixed order. Needs `project` of all own tokens of the layer, and none of later ones.
  virtual void score(Sequence& sequence, int layer_idx, const KeyView& keys, const ScoreShape& shape,
                     std::span<float> out) = 0;

  /// Attention of these own tokens over the view and, causally, over all own tokens before them; output projection,
  /// residual, MLP. Needs `project` of the layer up to the end of `range`.
  virtual void attend(Sequence& sequence, int layer_idx, OwnRange range, const KvView& view) = 0;

  /// Final norm and logits of the last own token, which the sequence keeps, and the highest one's id (ties: the lower;
  /// -1 where one is not a number). Needs `attend` of the last layer.
  virtual void next_token(Sequence& sequence, std::int32_t& id) = 0;
  /// One more own token through all layers, then as `next_token`; views[layer] is what it sees of the prefix.
  virtual void decode(Sequence& sequence, std::int32_t id, std::span<const KvView> views, std::int32_t& next_id) = 0;
  /// What the last `next_token` or `decode` kept: [vocab].
  virtual void last_logits(const Sequence& sequence, std::span<float> out) = 0;

  /// Forgets own tokens after the first `num_own_tokens`, so that another continuation can be decoded.
  virtual void rewind(Sequence& sequence, std::uint32_t num_own_tokens) = 0;

  /// K and V of own tokens in one layer, in the store's type, [count][num_kv_heads][head_dim] each.
  virtual void copy_own_kv(const Sequence& sequence, int layer_idx, OwnRange range, std::span<std::byte> keys,
                           std::span<std::byte> values) = 0;

  /// Where they are, once the layer is projected; on the CPU until the sequence grows.
  virtual OwnKvBytes own_kv(const Sequence& sequence, int layer_idx, OwnRange range) = 0;

  /// Blocks until everything that was called is done. Throws MachineError for what failed meanwhile.
  virtual void synchronize() = 0;

  /// The bytes where views may name them; on the CPU the same memory, which the caller keeps.
  virtual std::shared_ptr<const std::byte> upload(std::span<const std::byte> host) = 0;

  /// Host memory that results can be written to without waiting for them.
  virtual std::shared_ptr<std::byte> host_buffer(Bytes size) = 0;

  /// Null: tiers are host memory.
  virtual Gpu* gpu() = 0;
  /// What calls are submitted to, on a GPU.
  virtual cudaStream_t stream() const = 0;
  virtual const Checkpoint& checkpoint() const = 0;
  virtual KvType kv_type() const = 0;
  /// For reports: "CPU, 16 threads".
  virtual std::string describe() const = 0;
};

/// Throws ConfigError, naming the model and what is allowed, unless all ids are in the vocabulary and
/// `num_stored_tokens` + `num_own_tokens` positions within the model's limit.
void check_tokens(const DecoderConfig& config, std::span<const std::int32_t> ids, std::uint32_t num_stored_tokens,
                  std::uint32_t num_own_tokens);

/// The highest logit's id; ties go to the lower id. Throws InvariantError on NaN.
std::int32_t argmax(std::span<const float> logits);

}  // namespace reprefill::engine
