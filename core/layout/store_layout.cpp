#include "core/layout/store_layout.hpp"

#include <algorithm>
#include <numeric>

namespace reprefill::layout {

StoreLayout::StoreLayout(const ModelGeometry& geometry, const KvLayout& layout, AuxiliarySlabs auxiliary)
    : layout_(layout),
      auxiliary_(std::move(auxiliary)),
      num_layers_(geometry.num_layers),
      tensor_bytes_(geometry.kv_tensor_bytes_per_token_layer().value),
      probe_bytes_(static_cast<std::uint64_t>(geometry.num_probed_kv_heads(auxiliary_.probe_heads)) *
                   static_cast<std::uint64_t>(geometry.head_dim * geometry.kv_element_bytes)),
      geometry_(geometry) {
  REPREFILL_CHECK(layout_.block_tokens > 0 && layout_.period_layers > 0, "a layout of {} tokens and {} layers",
                  layout_.block_tokens, layout_.period_layers);
  REPREFILL_CHECK(auxiliary_.identification_period >= 0, "identification keys every {} layers",
                  auxiliary_.identification_period);
  REPREFILL_CHECK(is_per_chunk(auxiliary_.digest) == (auxiliary_.digest_tokens > 0), "{} of chunks of {} tokens",
                  enum_name(auxiliary_.digest), auxiliary_.digest_tokens);
}

std::uint64_t StoreLayout::identification_bytes(std::uint64_t tokens) const {
  return key_digest_bytes(geometry_, auxiliary_.digest, auxiliary_.digest_tokens, tokens).value;
}

std::uint32_t StoreLayout::block_tokens_of(PieceKey piece, std::uint32_t segment_tokens) const {
  const std::uint64_t first = std::uint64_t{piece.index()} * layout_.block_tokens;
  REPREFILL_CHECK(first < segment_tokens, "block {} is outside a segment of {} tokens", piece.index(), segment_tokens);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(layout_.block_tokens, segment_tokens - first));
}

Bytes StoreLayout::piece_bytes(PieceKey piece, std::uint32_t segment_tokens) const {
  switch (piece.kind()) {
    case PieceKind::key:
    case PieceKind::value:
      return Bytes{block_tokens_of(piece, segment_tokens) * tensor_bytes_};
    case PieceKind::key_value:
      return Bytes{2 * block_tokens_of(piece, segment_tokens) * tensor_bytes_};
    case PieceKind::identification_keys:
      return Bytes{identification_bytes(piece.index())};
    case PieceKind::probe_keys:
      return Bytes{piece.index() * probe_bytes_};
  }
  return Bytes{0};
}

Extent StoreLayout::extent(PieceKey piece, std::uint32_t segment_tokens) const {
  REPREFILL_CHECK(piece.layer_idx() < num_layers_, "layer {} of a model of {} layers", piece.layer_idx(), num_layers_);
  const bool auxiliary = piece.kind() == PieceKind::identification_keys || piece.kind() == PieceKind::probe_keys;
  return {.offset = auxiliary ? auxiliary_offset(piece, segment_tokens) : payload_offset(piece, segment_tokens),
          .bytes = piece_bytes(piece, segment_tokens)};
}

/// Offsets within one block group: with K and V adjacent each layer's K is followed by its V, apart all K come first.
std::uint64_t StoreLayout::payload_offset(PieceKey piece, std::uint32_t segment_tokens) const {
  const std::uint64_t tokens_before = std::uint64_t{piece.index()} * layout_.block_tokens;
  const std::uint64_t block = block_tokens_of(piece, segment_tokens) * tensor_bytes_;
  const auto layer = static_cast<std::uint64_t>(piece.layer_idx());
  const bool is_value = piece.kind() == PieceKind::value;
  const bool adjacent = layout_.kv == KvPlacement::adjacent;
  REPREFILL_CHECK(adjacent || piece.kind() != PieceKind::key_value, "K and V apart are two pieces");

  if (layout_.order == KvOrder::layer_major) {
    const std::uint64_t tensor = segment_tokens * tensor_bytes_;
    if (adjacent) {
      return kStoreAlignment + layer * slab(2 * tensor) + 2 * tokens_before * tensor_bytes_ + (is_value ? block : 0);
    }
    return kStoreAlignment + (2 * layer + (is_value ? 1 : 0)) * slab(tensor) + tokens_before * tensor_bytes_;
  }
  const auto group =
      static_cast<std::uint64_t>(layout_.order == KvOrder::chunk_major ? num_layers_ : layout_.period_layers);
  const std::uint64_t period = layer / group;
  const std::uint64_t layers_in_period = std::min(group, static_cast<std::uint64_t>(num_layers_) - period * group);
  const std::uint64_t period_start = kStoreAlignment + period * slab(2 * group * segment_tokens * tensor_bytes_);
  const std::uint64_t block_start = period_start + 2 * layers_in_period * tokens_before * tensor_bytes_;
  const std::uint64_t in_period = layer % group;
  if (adjacent) return block_start + (2 * in_period + (is_value ? 1 : 0)) * block;
  return block_start + (in_period + (is_value ? layers_in_period : 0)) * block;
}

std::uint64_t StoreLayout::payload_end(std::uint32_t segment_tokens) const {
  const auto layers = static_cast<std::uint64_t>(num_layers_);
  const std::uint64_t tensor = segment_tokens * tensor_bytes_;
  if (layout_.order == KvOrder::layer_major) {
    return kStoreAlignment +
           (layout_.kv == KvPlacement::adjacent ? layers * slab(2 * tensor) : 2 * layers * slab(tensor));
  }
  const std::uint64_t group =
      layout_.order == KvOrder::chunk_major ? layers : static_cast<std::uint64_t>(layout_.period_layers);
  const std::uint64_t full_periods = (layers - 1) / group;  // the last one may be partial
  return kStoreAlignment + full_periods * slab(2 * group * tensor) + slab(2 * (layers - full_periods * group) * tensor);
}

std::uint64_t StoreLayout::auxiliary_offset(PieceKey piece, std::uint32_t segment_tokens) const {
  REPREFILL_CHECK(piece.index() > 0 && piece.index() <= segment_tokens, "keys of {} leading tokens of a segment of {}",
                  piece.index(), segment_tokens);
  const auto layer = static_cast<std::uint64_t>(piece.layer_idx());
  const std::uint64_t start = payload_end(segment_tokens);
  const auto period = static_cast<std::uint64_t>(std::max(1, auxiliary_.identification_period));
  if (piece.kind() == PieceKind::identification_keys) {
    REPREFILL_CHECK(has_identification_keys(piece.layer_idx()), "layer {} has no identification keys", layer);
    return start + layer / period * slab(identification_bytes(segment_tokens));
  }
  REPREFILL_CHECK(probe_bytes_ > 0, "the layout has no probe keys");
  const std::uint64_t identification = auxiliary_.identification_period > 0
                                           ? divide_rounding_up(static_cast<std::uint64_t>(num_layers_), period) *
                                                 slab(identification_bytes(segment_tokens))
                                           : 0;
  return start + identification + layer * slab(segment_tokens * probe_bytes_);
}

Bytes StoreLayout::payload_bytes(std::uint32_t segment_tokens) const {
  return Bytes{2 * static_cast<std::uint64_t>(num_layers_) * segment_tokens * tensor_bytes_};
}

Extent StoreLayout::permutation_extent(std::uint32_t segment_tokens) const {
  std::uint64_t offset = payload_end(segment_tokens);
  for (int layer = 0; layer < num_layers_; ++layer) {
    if (has_identification_keys(layer)) offset += slab(identification_bytes(segment_tokens));
    offset += slab(segment_tokens * probe_bytes_);
  }
  const auto layers = static_cast<std::uint64_t>(num_layers_);
  return {.offset = offset,
          .bytes = Bytes{auxiliary_.permutation ? slab(layers * segment_tokens * kPermutationEntryBytes) : 0}};
}

Bytes StoreLayout::file_bytes(std::uint32_t segment_tokens) const {
  const Extent last = permutation_extent(segment_tokens);
  return Bytes{last.offset} + last.bytes;
}

Bytes StoreLayout::layer_bytes_written(int layer_idx, std::uint32_t segment_tokens) const {
  const std::uint64_t keys = has_identification_keys(layer_idx) ? identification_bytes(segment_tokens) : 0;
  return Bytes{segment_tokens * (2 * tensor_bytes_ + probe_bytes_) + keys + permutation_bytes(segment_tokens)};
}

void check_block_tokens(std::string_view place, std::uint32_t block_tokens, std::uint32_t store_block_tokens) {
  REPREFILL_CHECK(block_tokens > 0 && store_block_tokens > 0, "{}: a block of no tokens", place);
  if (store_block_tokens % block_tokens == 0) return;
  throw ConfigError(fmt::format(
      "{}: found {}; expected a divisor of store_block_tokens ({}): set store_block_tokens to {}", place, block_tokens,
      store_block_tokens, std::lcm(std::uint64_t{block_tokens}, std::uint64_t{store_block_tokens})));
}

const ParamTable<KvLayout>& kv_layout_params() {
  using P = KvLayout;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::order,
          {.name = "order", .doc = "of the payload in a segment's file", .source = "semantics 3: layer_major"});
    t.add(&P::kv, {.name = "kv",
                   .doc = "K and V of a block side by side, or in slabs of their own",
                   .source = "A2: contiguous_kv adjacent, others apart"});
    t.add(&P::block_tokens, {.name = "block_tokens",
                             .doc = "tokens of one object; divides store_block_tokens",
                             .source = "A2: contiguous_kv chunk_tokens, others 64",
                             .unit = "tokens",
                             .minimum = 1,
                             .maximum = 65536});
    t.add(&P::period_layers, {.name = "period_layers",
                              .doc = "layers of a group under order period_major",
                              .source = "reference 3.1: 8",
                              .unit = "layers",
                              .minimum = 1,
                              .maximum = 511});
    return t;
  }();
  return table;
}

}  // namespace reprefill::layout
