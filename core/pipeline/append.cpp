#include "core/pipeline/append.hpp"

#include <algorithm>

namespace reprefill::pipeline {

NewKvOrigin origin_of_new_kv(const Request& request, bool system_prunes, AppendKv append_kv) {
  const bool over_pruned = system_prunes && request.stored_tokens > 0;
  const bool recomputed = over_pruned && append_kv == AppendKv::recompute_exact;
  const bool over_approximate = request.account.approximate_tokens_reused > 0;
  return {.recomputed = recomputed, .approximate = !recomputed && (over_pruned || over_approximate)};
}

void append_layer(Machine& machine, Request& request, const layout::StoreLayout& layout, int layer_idx,
                  const Deps& projected, const OnWrite& on_write) {
  const OpContext context{.request = request.id, .layer_idx = layer_idx};
  PieceList pieces;
  pieces.bytes = layout.layer_bytes_written(layer_idx, request.append->num_tokens);
  const Bytes size = pieces.bytes;
  const Op copied = machine.copy(context, std::move(pieces), CopyRoute::gpu_to_staging, projected);
  const Op write = machine.write(context, request.append->segment, size, copied);
  request.account.appended += size;
  if (on_write) on_write(layer_idx, write);
}

void append_recomputed(Machine& machine, Request& request, const layout::StoreLayout& layout, RecomputeShape shape,
                       const Op& after, const OnWrite& on_write) {
  const std::uint32_t num_tokens = request.append->recompute_tokens;
  machine.recompute_begins(request);
  Op previous = after;
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    const OpContext context{.request = request.id, .layer_idx = layer};
    Deps projected;
    for (std::uint32_t first = 0; first < num_tokens; first += shape.block_tokens) {
      const std::uint32_t count = std::min(shape.block_tokens, num_tokens - first);
      projected.add(machine.project(context, {.first = first, .count = count}, previous));
    }
    append_layer(machine, request, layout, layer, projected, on_write);
    if (layer + 1 == shape.num_layers) break;  // nobody needs the last layer's output
    Op last;
    for (std::uint32_t first = 0; first < num_tokens; first += shape.block_tokens) {
      const std::uint32_t count = std::min(shape.block_tokens, num_tokens - first);
      Deps deps = projected;
      deps.add(last);
      last = machine.attend(context, request, {.first = first, .count = count}, KvView{}, deps);
    }
    previous = last;
  }
}

}  // namespace reprefill::pipeline
