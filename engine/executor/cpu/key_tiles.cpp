#include "engine/executor/cpu/key_tiles.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/error.hpp"
#include "core/base/units.hpp"

namespace reprefill::engine {
namespace {

Stored stored_type(KvType type) { return type == KvType::bf16 ? Stored::bf16 : Stored::fp32; }

}  // namespace

KeyTiles::KeyTiles(const Shape& shape, const KvView& view, const OwnKv& own)
    : shape_(shape), stored_heads_(shape.num_kv_heads), num_own_(own.num_tokens) {
  for (const KvPage& page : view.pages) add_page(page.keys, page.values, page.num_tokens);
  REPREFILL_CHECK(num_stored_ == view.num_tokens, "pages hold {} tokens, the view says {}", num_stored_,
                  view.num_tokens);
  const std::size_t mask_size = std::size_t{num_stored_} * static_cast<std::size_t>(shape.num_kv_heads);
  keep_k_ = view.keep_k;
  keep_v_ = view.keep_v;
  REPREFILL_CHECK(keep_k_.empty() || keep_k_.size() == mask_size, "keep_k holds {} entries of {}", keep_k_.size(),
                  mask_size);
  REPREFILL_CHECK(keep_v_.empty() || keep_v_.size() == mask_size, "keep_v holds {} entries of {}", keep_v_.size(),
                  mask_size);
  pages_.push_back({num_stored_, own.keys, own.values});
}

KeyTiles::KeyTiles(const Shape& shape, const KeyView& view, const OwnKv& own)
    : shape_(shape), stored_heads_(view.num_heads), num_own_(own.num_tokens) {
  for (const KeyPage& page : view.pages) add_page(page.keys, nullptr, page.num_tokens);
  REPREFILL_CHECK(num_stored_ == view.num_tokens, "pages hold {} tokens, the view says {}", num_stored_,
                  view.num_tokens);
  pages_.push_back({num_stored_, own.keys, own.values});
}

void KeyTiles::add_page(const std::byte* keys, const std::byte* values, std::uint32_t num_tokens) {
  if (num_tokens == 0) return;
  pages_.push_back({num_stored_, keys, values});
  num_stored_ += num_tokens;
}

std::size_t KeyTiles::value_columns() const {
  return divide_rounding_up<std::size_t>(static_cast<std::size_t>(shape_.head_dim), kColumnStep) * kColumnStep;
}

std::size_t KeyTiles::head_bytes() const {
  return static_cast<std::size_t>(shape_.head_dim) * bytes_per_element(shape_.type);
}

/// The last page that begins at or before the key.
std::size_t KeyTiles::find_page(std::uint32_t key) const {
  const auto after = std::ranges::upper_bound(pages_, key, {}, &Page::first);
  return static_cast<std::size_t>(after - pages_.begin()) - 1;
}

bool KeyTiles::keeps_key(std::uint32_t key, int head) const {
  return keep_k_.empty() || key >= num_stored_ || keep_k_[static_cast<std::size_t>(head) * num_stored_ + key] != 0;
}

bool KeyTiles::keeps_value(std::uint32_t key, int head) const {
  return keep_v_.empty() || key >= num_stored_ || keep_v_[static_cast<std::size_t>(head) * num_stored_ + key] != 0;
}

void KeyTiles::load_keys(const Kernels& kernels, std::uint32_t first, int stored_head, int own_head, float* out) const {
  // The longest head that a model has is 256; zeros stand for keys beyond the last.
  static constexpr std::byte kZeros[1024] = {};
  REPREFILL_CHECK(head_bytes() <= sizeof kZeros, "head_dim {} is not supported", shape_.head_dim);
  std::size_t page = find_page(first);
  const std::byte* keys[kKeyGroup];
  for (std::uint32_t group = 0; group < kTileKeys; group += kKeyGroup) {
    for (std::uint32_t i = 0; i < kKeyGroup; ++i) {
      const std::uint32_t key = first + group + i;
      keys[i] = kZeros;
      if (key >= num_keys()) continue;
      while (page + 1 < pages_.size() && pages_[page + 1].first <= key) ++page;
      const bool is_own = key >= num_stored_;
      const auto heads = static_cast<std::size_t>(is_own ? shape_.num_kv_heads : stored_heads_);
      const auto head = static_cast<std::size_t>(is_own ? own_head : stored_head);
      keys[i] = pages_[page].keys + ((key - pages_[page].first) * heads + head) * head_bytes();
    }
    kernels.transpose_keys(stored_type(shape_.type), keys, shape_.head_dim, out + group);
  }
}

void KeyTiles::load_values(const Kernels& kernels, std::uint32_t first, int head, float* out) const {
  const auto dim = static_cast<std::size_t>(shape_.head_dim);
  const std::size_t columns = value_columns();
  const auto heads = static_cast<std::size_t>(shape_.num_kv_heads);
  std::size_t page = find_page(first);
  for (std::uint32_t i = 0; i < kTileKeys; ++i, out += columns) {
    const std::uint32_t key = first + i;
    if (key >= num_keys() || !keeps_key(key, head) || !keeps_value(key, head)) {
      std::memset(out, 0, columns * sizeof(float));
      continue;
    }
    while (page + 1 < pages_.size() && pages_[page + 1].first <= key) ++page;
    REPREFILL_CHECK(pages_[page].values != nullptr, "token {} of the view has no value and is not masked", key);
    const std::size_t offset = ((key - pages_[page].first) * heads + static_cast<std::size_t>(head)) * head_bytes();
    kernels.widen(stored_type(shape_.type), pages_[page].values + offset, dim, out);
    std::memset(out + dim, 0, (columns - dim) * sizeof(float));
  }
}

bool KeyTiles::mask_logits(std::uint32_t first, int head, float* logits) const {
  if (keep_k_.empty()) return false;
  bool masked = false;
  for (std::uint32_t i = 0; i < kTileKeys && first + i < num_stored_; ++i) {
    if (keeps_key(first + i, head)) continue;
    logits[i] = -std::numeric_limits<float>::infinity();
    masked = true;
  }
  return masked;
}

}  // namespace reprefill::engine
