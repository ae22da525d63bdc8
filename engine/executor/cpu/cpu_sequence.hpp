// A request's state inside the CPU executor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/executor/cpu/cpu_executor.hpp"
#include "engine/executor/cpu/key_tiles.hpp"
#include "engine/executor/layer_progress.hpp"
#include "engine/executor/rope.hpp"

namespace reprefill::engine {

class CpuSequence final : public Sequence {
 public:
  CpuSequence(const ModelGeometry& geometry, KvType kv_type, std::uint32_t first_position, PositionGap gap);

  std::uint32_t first_position() const override { return first_position_; }
  /// Most stored tokens that its own ones may attend to.
  std::uint32_t num_stored_tokens() const { return first_position_ + gap_.num_tokens; }
  std::uint32_t num_own_tokens() const override { return static_cast<std::uint32_t>(ids_.size()); }

  void add_tokens(std::span<const std::int32_t> ids, const Rope& rope);
  /// Drops tokens behind the first `count`.
  void keep_tokens(std::uint32_t count);

  std::int32_t id(std::uint32_t token) const { return ids_[token]; }
  float* hidden(std::uint32_t token) { return hidden_.data() + token * hidden_size_; }
  /// Queries of the layer that was projected last: [tokens][num_query_heads * head_dim]; no older layer's are kept.
  float* queries(std::uint32_t token) { return queries_.data() + token * query_size_; }
  std::span<const float> cosines(std::uint32_t token) const;
  std::span<const float> sines(std::uint32_t token) const;

  /// K and V of own tokens, [tokens][num_kv_heads][head_dim] of the KV type.
  std::byte* keys(int layer_idx, std::uint32_t token);
  std::byte* values(int layer_idx, std::uint32_t token);
  const std::byte* keys(int layer_idx, std::uint32_t token) const;
  const std::byte* values(int layer_idx, std::uint32_t token) const;
  std::size_t kv_bytes_per_token() const { return kv_bytes_; }
  OwnKv own_kv(int layer_idx, std::uint32_t num_tokens) const;

  /// Of the last token that `next_token` or `decode` was asked for.
  std::vector<float>& last_logits() { return last_logits_; }
  const std::vector<float>& last_logits() const { return last_logits_; }

  LayerProgress& progress() { return progress_; }

 private:
  void resize(std::size_t count);

  std::size_t hidden_size_, query_size_, half_dim_, kv_bytes_;
  std::uint32_t first_position_;
  PositionGap gap_;
  std::vector<std::int32_t> ids_;
  LayerProgress progress_;
  std::vector<float> hidden_, queries_, cosines_, sines_, last_logits_;
  std::vector<std::vector<std::byte>> keys_, values_;  // per layer
};

}  // namespace reprefill::engine
