#include "engine/executor/cpu/cpu_sequence.hpp"

#include "core/base/error.hpp"

namespace reprefill::engine {

CpuSequence::CpuSequence(const ModelGeometry& geometry, KvType kv_type, std::uint32_t first_position, PositionGap gap)
    : hidden_size_(static_cast<std::size_t>(geometry.hidden)),
      query_size_(static_cast<std::size_t>(geometry.num_query_heads) * static_cast<std::size_t>(geometry.head_dim)),
      half_dim_(static_cast<std::size_t>(geometry.head_dim) / 2),
      kv_bytes_(static_cast<std::size_t>(geometry.num_kv_heads) * static_cast<std::size_t>(geometry.head_dim) *
                bytes_per_element(kv_type)),
      first_position_(first_position),
      gap_(gap),
      keys_(static_cast<std::size_t>(geometry.num_layers)),
      values_(keys_.size()) {}

void CpuSequence::add_tokens(std::span<const std::int32_t> ids, const Rope& rope) {
  const std::size_t first = ids_.size();
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  const std::size_t count = ids_.size();
  resize(count);
  for (std::size_t i = first; i < count; ++i) {
    const auto token = static_cast<std::uint32_t>(i);
    const std::uint32_t position = first_position_ + token + (token >= gap_.after_tokens ? gap_.num_tokens : 0);
    rope.angles(position, std::span(cosines_).subspan(i * half_dim_, half_dim_),
                std::span(sines_).subspan(i * half_dim_, half_dim_));
  }
}

void CpuSequence::keep_tokens(std::uint32_t count) {
  REPREFILL_CHECK(count > 0 && count <= ids_.size(), "{} of {} own tokens are to be kept", count, ids_.size());
  ids_.resize(count);
  resize(count);
}

void CpuSequence::resize(std::size_t count) {
  progress_.resize(count);
  hidden_.resize(count * hidden_size_);
  queries_.resize(count * query_size_);
  cosines_.resize(count * half_dim_);
  sines_.resize(count * half_dim_);
  for (std::vector<std::byte>& keys : keys_) keys.resize(count * kv_bytes_);
  for (std::vector<std::byte>& values : values_) values.resize(count * kv_bytes_);
}

std::span<const float> CpuSequence::cosines(std::uint32_t token) const {
  return std::span(cosines_).subspan(token * half_dim_, half_dim_);
}
std::span<const float> CpuSequence::sines(std::uint32_t token) const {
  return std::span(sines_).subspan(token * half_dim_, half_dim_);
}

std::byte* CpuSequence::keys(int layer_idx, std::uint32_t token) {
  return keys_[static_cast<std::size_t>(layer_idx)].data() + token * kv_bytes_;
}
std::byte* CpuSequence::values(int layer_idx, std::uint32_t token) {
  return values_[static_cast<std::size_t>(layer_idx)].data() + token * kv_bytes_;
}
const std::byte* CpuSequence::keys(int layer_idx, std::uint32_t token) const {
  return keys_[static_cast<std::size_t>(layer_idx)].data() + token * kv_bytes_;
}
const std::byte* CpuSequence::values(int layer_idx, std::uint32_t token) const {
  return values_[static_cast<std::size_t>(layer_idx)].data() + token * kv_bytes_;
}

OwnKv CpuSequence::own_kv(int layer_idx, std::uint32_t num_tokens) const {
  return {.keys = keys(layer_idx, 0), .values = values(layer_idx, 0), .num_tokens = num_tokens};
}

}  // namespace reprefill::engine
