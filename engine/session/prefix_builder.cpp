#include "engine/session/prefix_builder.hpp"

#include <algorithm>

namespace reprefill::engine {
namespace {

constexpr std::uint32_t kPrefillBlockTokens = 2048;  // the pipelines' default, semantics 3

/// A new segment's layers, computed when they are asked for, on top of the stored path that it extends.
class ComputedSegment {
 public:
  ComputedSegment(Executor& executor, const Store& store, std::vector<SegmentSpan> stored, std::uint32_t stored_tokens,
                  std::span<const std::int32_t> new_ids)
      : executor_(executor),
        kv_(store, executor),
        stored_(std::move(stored)),
        stored_tokens_(stored_tokens),
        num_layers_(executor.checkpoint().geometry().num_layers),
        sequence_(executor.begin(new_ids, stored_tokens)),
        keys_(new_ids.size() * store.manifest().model.geometry.tensor_bytes_per_token().value),
        values_(keys_.size()) {}

  LayerKv layer(int layer_idx) {
    const std::uint32_t count = sequence_->num_own_tokens();
    for_blocks(count, [&](OwnRange range) { executor_.project(*sequence_, layer_idx, range); });
    executor_.copy_own_kv(*sequence_, layer_idx, {0, count}, keys_, values_);
    executor_.synchronize();
    if (layer_idx + 1 < num_layers_) {  // of the last layer only K and V are wanted
      std::vector<StoredKv::Layer> layers;
      const std::vector<KvPage> pages = kv_.read_prefix(stored_, layer_idx, layers);
      const KvView view{.pages = pages, .num_tokens = stored_tokens_};
      for_blocks(count, [&](OwnRange range) { executor_.attend(*sequence_, layer_idx, range, view); });
    }
    return {.keys = keys_, .values = values_};
  }

 private:
  template <typename Use>
  static void for_blocks(std::uint32_t count, Use&& use) {
    for (std::uint32_t first = 0; first < count; first += kPrefillBlockTokens) {
      use(OwnRange{first, std::min(kPrefillBlockTokens, count - first)});
    }
  }

  Executor& executor_;
  StoredKv kv_;
  std::vector<SegmentSpan> stored_;
  std::uint32_t stored_tokens_;
  int num_layers_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<std::byte> keys_, values_;
};

}  // namespace

BuiltPrefix build_prefix(Executor& executor, StoreWriter& writer, std::span<const std::int32_t> token_ids,
                         const std::function<void(int)>& on_layer) {
  BuiltPrefix built;
  std::vector<SegmentSpan> stored = writer.store().match(token_ids);
  for (const SegmentSpan& span : stored) built.stored_tokens += span.num_tokens;
  writer.add_prefix(token_ids, [&](const NewSegment& missing) -> KvSource {
    built.new_tokens = static_cast<std::uint32_t>(missing.token_ids.size());
    auto segment = std::make_shared<ComputedSegment>(executor, writer.store(), std::move(stored), built.stored_tokens,
                                                     missing.token_ids);
    return [segment, on_layer](int layer_idx) {
      const LayerKv kv = segment->layer(layer_idx);
      if (on_layer) on_layer(layer_idx + 1);
      return kv;
    };
  });
  built.stored_tokens += built.new_tokens;
  built.dropped_tokens = static_cast<std::uint32_t>(token_ids.size()) - built.stored_tokens;
  return built;
}

}  // namespace reprefill::engine
