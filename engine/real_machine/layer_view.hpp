// From a pipeline's view of a layer (which tokens are kept) to addresses of keys and values.
#pragma once

#include <vector>

#include "core/base/kv_view.hpp"
#include "core/pipeline/request.hpp"
#include "engine/real_machine/placement.hpp"

namespace reprefill::engine {

/// K and V of a stored prefix that is in memory as a whole, for `resident`: [tokens][KV heads][head_dim] of one layer.
struct ResidentLayer {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
};
using ResidentKv = std::function<ResidentLayer(SegmentId, int layer_idx)>;

/// Pages of one layer. Named when the operation is issued; addresses are known once its dependencies are done.
class LayerView {
 public:
  /// Addresses; call when everything in `deps` is done. Valid as long as this object.
  KvView resolve();
  KeyView resolve_keys(int num_heads);

  pipeline::Deps deps;            // operations that fill the pages
  std::vector<PartCopy> adopted;  // copies to run before the pages are used

 private:
  friend class LayerViewBuilder;
  struct Page {
    Located keys, values;                      // with an offset to the page's first token
    const std::byte* resident_keys = nullptr;  // instead of the above
    const std::byte* resident_values = nullptr;
    std::uint32_t num_tokens = 0;
  };
  std::vector<Page> pages_;
  std::vector<std::uint8_t> keep_k_, keep_v_;
  std::uint32_t num_tokens_ = 0;
  std::vector<KvPage> resolved_;
  std::vector<KeyPage> resolved_keys_;
};

class LayerViewBuilder {
 public:
  struct Options {
    const ModelGeometry* geometry = nullptr;
    const layout::StoreLayout* layout = nullptr;  // null: `resident` serves
    Placement* placement = nullptr;
    ResidentKv resident = nullptr;
    BlockPool* device = nullptr;
    std::function<void(std::byte*, Bytes)> zero = nullptr;  // of device memory; done when it returns
    /// Where tokens lie in a reordered store; null or empty: in their own order.
    std::function<std::span<const std::uint32_t>(SegmentId, int layer_idx)> token_places = nullptr;
  };
  explicit LayerViewBuilder(const Options& options) : options_(options) {}

  /// What `attend` reads. `op` is that operation: it runs the adopted copies.
  LayerView attention(pipeline::OpContext context, const pipeline::Request& request, const pipeline::KvView& view,
                      const pipeline::Op& op);
  /// What `score` reads: identification or probe keys where the layout has them for this layer, else all keys.
  LayerView scoring_keys(pipeline::OpContext context, const pipeline::Request& request, pipeline::ScorerKind kind,
                         const pipeline::Op& op);

 private:
  struct Run {  // consecutive tokens of the prefix
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  struct Target {
    LayerView& view;
    pipeline::OpContext context;
    const pipeline::Op& op;
    bool values = true;
    bool missing_is_zero = false;
  };
  std::vector<std::uint32_t> add_in_payload_order(Target& target, const pipeline::Request& request,
                                                  std::span<const Run> runs);
  bool is_reordered(const pipeline::Request& request, int layer_idx) const;
  static std::vector<Run> kept_runs(const pipeline::Request& request, const pipeline::KvView& view);
  void add_run(Target& target, const pipeline::Request& request, Run run);
  /// Of neighbouring places in one block of the payload.
  void add_page(Target& target, SegmentId segment, std::uint32_t first_place, std::uint32_t count);
  void add_slabs(LayerView& view, pipeline::OpContext context, const pipeline::Request& request, PieceKind kind);
  Located locate(Target& target, PieceKey part);
  const BlockRef& zero_block(Bytes size);
  std::uint32_t block_tokens() const;
  Bytes token_bytes() const { return options_.geometry->kv_tensor_bytes_per_token_layer(); }

  Options options_;
  BlockRef zeros_;
};

}  // namespace reprefill::engine
