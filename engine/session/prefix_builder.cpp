#include "engine/session/prefix_builder.hpp"

#include <algorithm>

#include "engine/store/manifest.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint32_t kPrefillBlockTokens = 2048;  // the pipelines' default, semantics 3

/// One layer of all own tokens, in blocks. Of the last layer only K and V are wanted.
void compute_layer(CpuExecutor& executor, Sequence& sequence, int layer_idx, const KvView& view, bool is_last) {
  const std::uint32_t count = sequence.num_own_tokens();
  const auto for_blocks = [&](auto&& use) {
    for (std::uint32_t first = 0; first < count; first += kPrefillBlockTokens) {
      use(OwnRange{first, std::min(kPrefillBlockTokens, count - first)});
    }
  };
  for_blocks([&](OwnRange range) { executor.project(sequence, layer_idx, range); });
  if (is_last) return;
  for_blocks([&](OwnRange range) { executor.attend(sequence, layer_idx, range, view); });
}

}  // namespace

BuiltPrefix PrefixBuilder::build(std::span<const std::int32_t> token_ids, const std::function<void(int)>& on_layer) {
  const std::vector<SegmentSpan> stored = store_.match(token_ids);
  std::uint32_t stored_tokens = 0;
  for (const SegmentSpan& span : stored) stored_tokens += span.num_tokens;
  NewSegment segment = store_.missing_part(token_ids);
  const auto new_tokens = static_cast<std::uint32_t>(segment.token_ids.size());
  if (new_tokens == 0) {
    return {.segment = stored.empty() ? SegmentId{} : stored.back().segment, .stored_tokens = stored_tokens};
  }
  const std::unique_ptr<Sequence> sequence = executor_.begin(segment.token_ids, stored_tokens);
  const std::size_t layer_bytes = new_tokens * store_.manifest().model.geometry.tensor_bytes_per_token().value;
  std::vector<std::byte> keys(layer_bytes), values(layer_bytes);
  std::vector<StoredKv::Layer> layers;
  SegmentWriter writer(store_.manifest(), segments_path(store_.folder()), segment, options_);
  const int num_layers = executor_.checkpoint().geometry().num_layers;
  for (int layer = 0; layer < num_layers; ++layer) {
    const std::vector<KvPage> pages = kv_.read_prefix(stored, layer, layers);
    compute_layer(executor_, *sequence, layer, {.pages = pages, .num_tokens = stored_tokens}, layer + 1 == num_layers);
    executor_.copy_own_kv(*sequence, layer, {0, new_tokens}, keys, values);
    writer.write_layer({.keys = keys, .values = values});
    if (on_layer) on_layer(layer + 1);
  }
  writer.commit();
  const SegmentId id =
      store_.add({.key = writer.key(), .parent = segment.parent, .token_ids = std::move(segment.token_ids)});
  return {.segment = id, .stored_tokens = stored_tokens + new_tokens, .new_tokens = new_tokens};
}

}  // namespace reprefill::engine
