#include "engine/store/layer_reader.hpp"

#include <cstring>

namespace reprefill::engine {

LayerReader::LayerReader(const StoreFile& file, const PageVerifier& pages)
    : file_(file), pages_(pages), layout_(pages.header().store_layout()) {
  if (pages.header().layout.permutation) orders_ = read_token_orders(file, pages.header());
}

std::uint64_t LayerReader::bytes_per_layer() const {
  return pages_.header().num_tokens * pages_.header().geometry.tensor_bytes_per_token().value;
}

void LayerReader::read(int layer_idx, PieceKind kind, std::span<std::byte> out) const {
  if (orders_.empty()) return read_in_file_order(layer_idx, kind, out);
  std::vector<std::byte> in_file(out.size());
  read_in_file_order(layer_idx, kind, in_file);
  const std::uint64_t token_bytes = pages_.header().geometry.tensor_bytes_per_token().value;
  std::uint64_t place = 0;
  for (const std::uint32_t token : orders_[static_cast<std::size_t>(layer_idx)].token_at()) {
    std::memcpy(out.data() + token * token_bytes, in_file.data() + place * token_bytes, token_bytes);
    ++place;
  }
}

void LayerReader::read_in_file_order(int layer_idx, PieceKind kind, std::span<std::byte> out) const {
  REPREFILL_CHECK(out.size() == bytes_per_layer(), "room for {} bytes of {}", out.size(), bytes_per_layer());
  std::size_t filled = 0;
  for (std::uint32_t index = 0; filled < out.size(); ++index) {
    const layout::Extent extent =
        layout_.extent(PieceKey::make(SegmentId{0}, layer_idx, kind, index), pages_.header().num_tokens);
    const std::uint64_t from = extent.offset / kPageBytes * kPageBytes;
    const AlignedBuffer pages(extent.offset + extent.bytes.value - from);
    file_.read(from, pages.bytes());
    pages_.check(from, pages.bytes());
    std::memcpy(out.data() + filled, pages.data() + (extent.offset - from), extent.bytes.value);
    filled += extent.bytes.value;
  }
}

}  // namespace reprefill::engine
