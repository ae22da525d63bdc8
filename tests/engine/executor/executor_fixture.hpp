// Runs the executor on a tiny checkpoint the ways that pipelines do.
#pragma once

#include <memory>
#include <vector>

#include "core/base/random.hpp"
#include "engine/executor/cpu/cpu_executor.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::engine::test {

/// A checkpoint in a folder of its own, opened.
class OpenedCheckpoint {
 public:
  explicit OpenedCheckpoint(const test_support::TinyCheckpoint& shape) {
    test_support::write_checkpoint(folder_.path() / "model", shape);
    checkpoint_ = std::make_unique<Checkpoint>(Checkpoint::open(folder_.path() / "model"));
  }
  const Checkpoint& get() const { return *checkpoint_; }

 private:
  test_support::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

inline std::vector<std::int32_t> random_ids(std::size_t count, int vocab, std::uint64_t seed = 1) {
  RandomStream random(seed, 0, "ids");
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(random.below(vocab)));
  return ids;
}

/// K and V of consecutive tokens in every layer, and views of them.
class StoredPrefix {
 public:
  StoredPrefix() = default;
  StoredPrefix(Executor& executor, const Sequence& sequence, std::uint32_t num_tokens, std::uint32_t page_tokens)
      : num_tokens_(num_tokens) {
    const ModelGeometry& geometry = executor.checkpoint().geometry();
    const std::size_t token_bytes =
        static_cast<std::size_t>(geometry.num_kv_heads * geometry.head_dim) * bytes_per_element(executor.kv_type());
    for (int layer = 0; layer < geometry.num_layers; ++layer) {
      std::vector<std::byte>& keys = keys_.emplace_back(num_tokens * token_bytes);
      std::vector<std::byte>& values = values_.emplace_back(num_tokens * token_bytes);
      executor.copy_own_kv(sequence, layer, {0, num_tokens}, keys, values);
      executor.synchronize();
      const std::byte* uploaded_keys = uploads_.emplace_back(executor.upload(keys)).get();
      const std::byte* uploaded_values = uploads_.emplace_back(executor.upload(values)).get();
      std::vector<KvPage>& pages = pages_.emplace_back();
      for (std::uint32_t at = 0; at < num_tokens; at += page_tokens) {
        pages.push_back({uploaded_keys + at * token_bytes, uploaded_values + at * token_bytes,
                         std::min(page_tokens, num_tokens - at)});
        key_pages_.resize(pages_.size());
        key_pages_.back().push_back({pages.back().keys, pages.back().num_tokens});
      }
    }
  }

  std::uint32_t num_tokens() const { return num_tokens_; }
  KvView view(int layer) const {
    if (pages_.empty()) return {};
    return {.pages = pages_[static_cast<std::size_t>(layer)], .num_tokens = num_tokens_};
  }
  KeyView key_view(int layer, int num_heads) const {
    if (pages_.empty()) return {.pages = {}, .num_tokens = 0, .num_heads = num_heads};
    return {.pages = key_pages_[static_cast<std::size_t>(layer)], .num_tokens = num_tokens_, .num_heads = num_heads};
  }
  std::vector<KvView> views(int num_layers) const {
    std::vector<KvView> all;
    for (int layer = 0; layer < num_layers; ++layer) all.push_back(view(layer));
    return all;
  }
  const std::vector<std::byte>& keys(int layer) const { return keys_[static_cast<std::size_t>(layer)]; }
  const std::vector<std::byte>& values(int layer) const { return values_[static_cast<std::size_t>(layer)]; }

 private:
  std::uint32_t num_tokens_ = 0;
  std::vector<std::vector<std::byte>> keys_, values_;
  std::vector<std::shared_ptr<const std::byte>> uploads_;
  std::vector<std::vector<KvPage>> pages_;
  std::vector<std::vector<KeyPage>> key_pages_;
};

/// All layers, in blocks of `block_tokens`; views[layer] or no prefix.
inline std::unique_ptr<Sequence> prefill(Executor& executor, std::span<const std::int32_t> ids,
                                         std::span<const KvView> views = {}, std::uint32_t first_position = 0,
                                         std::uint32_t block_tokens = 4096) {
  std::unique_ptr<Sequence> sequence = executor.begin(ids, first_position);
  const auto count = static_cast<std::uint32_t>(ids.size());
  const auto for_blocks = [&](auto&& use) {
    for (std::uint32_t at = 0; at < count; at += block_tokens) use(OwnRange{at, std::min(block_tokens, count - at)});
  };
  for (int layer = 0; layer < executor.checkpoint().geometry().num_layers; ++layer) {
    const KvView view = views.empty() ? KvView{} : views[static_cast<std::size_t>(layer)];
    for_blocks([&](OwnRange range) { executor.project(*sequence, layer, range); });
    for_blocks([&](OwnRange range) { executor.attend(*sequence, layer, range, view); });
  }
  return sequence;
}

inline std::vector<float> all_logits(CpuExecutor& executor, Sequence& sequence, OwnRange range) {
  std::vector<float> out(range.count * static_cast<std::size_t>(executor.checkpoint().geometry().vocab));
  executor.logits(sequence, range, out);
  return out;
}

/// Of the last own token, after `next_token`.
inline std::vector<float> last_logits(Executor& executor, Sequence& sequence) {
  std::int32_t id = -1;
  executor.next_token(sequence, id);
  std::vector<float> out(static_cast<std::size_t>(executor.checkpoint().geometry().vocab));
  executor.last_logits(sequence, out);
  executor.synchronize();
  EXPECT_EQ(id, argmax(out));
  return out;
}

inline std::vector<float> decode_logits(Executor& executor, Sequence& sequence, std::int32_t id,
                                        std::span<const KvView> views) {
  std::int32_t next_id = -1;
  executor.decode(sequence, id, views, next_id);
  std::vector<float> out(static_cast<std::size_t>(executor.checkpoint().geometry().vocab));
  executor.last_logits(sequence, out);
  executor.synchronize();
  EXPECT_EQ(next_id, argmax(out));
  return out;
}

}  // namespace reprefill::engine::test
