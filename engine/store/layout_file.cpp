#include "engine/store/layout_file.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "engine/digest/key_digests.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint64_t kWriteBytes = 8 << 20;

}  // namespace

void gather_probe_keys(const StoreGeometry& geometry, std::span<const int> probe_heads, std::span<const std::byte> keys,
                       std::byte* out) {
  const std::uint32_t group = geometry.num_query_heads / geometry.num_kv_heads;
  std::set<std::uint32_t> kv_heads;
  for (const int head : probe_heads) kv_heads.insert(static_cast<std::uint32_t>(head) / group);
  const std::size_t head_bytes = geometry.head_dim * bytes_per_element(geometry.kv_type);
  const std::size_t token_bytes = geometry.tensor_bytes_per_token().value;
  for (std::size_t at = 0; at < keys.size(); at += token_bytes) {
    for (const std::uint32_t head : kv_heads) {
      std::memcpy(out, keys.data() + at + head * head_bytes, head_bytes);
      out += head_bytes;
    }
  }
}

void fill_identification_slab(const SegmentHeader& header, std::span<const std::byte> keys, std::span<std::byte> out) {
  if (header.layout.digest == KeyDigest::none) {
    std::memcpy(out.data(), keys.data(), out.size());
    return;
  }
  make_digest({.digest = header.layout.digest,
               .type = header.geometry.kv_type,
               .num_kv_heads = static_cast<int>(header.geometry.num_kv_heads),
               .head_dim = static_cast<int>(header.geometry.head_dim),
               .chunk_tokens = header.layout.digest_tokens},
              keys, out);
}

std::byte* LayoutFile::Window::at(const layout::Extent& extent) const {
  REPREFILL_CHECK(extent.offset >= start && extent.offset - start + extent.bytes.value <= buffer.size(),
                  "{} bytes at {} are outside the window at {} of {} bytes", extent.bytes.value, extent.offset, start,
                  buffer.size());
  return buffer.data() + (extent.offset - start);
}

LayoutFile::LayoutFile(const SegmentHeader& header, const std::filesystem::path& path, const WriteOptions& options,
                       TokenOrders orders)
    : header_(header),
      orders_(orders.empty() && header.layout.permutation ? own_orders(header) : std::move(orders)),
      layout_(header.store_layout()),
      options_(options),
      file_(StoreFile::create(path, options.direct, options.before_call)),
      pages_(header.num_pages()) {}

void LayoutFile::write_layer(int layer_idx, const LayerKv& kv) {
  if (layer_idx == window_end_) open_windows(layer_idx);
  copy_payload(layer_idx, kv);
  if (layout_.has_identification_keys(layer_idx)) {
    const layout::Extent extent = extent_of(layer_idx, PieceKind::identification_keys, header_.num_tokens);
    fill_identification_slab(header_, kv.keys, {identification_.at(extent), extent.bytes.value});
  }
  if (!header_.layout.probe_heads.empty()) {
    gather_probe_keys(header_.geometry, header_.layout.probe_heads, kv.keys,
                      probes_.at(extent_of(layer_idx, PieceKind::probe_keys, header_.num_tokens)));
  }
  if (layer_idx + 1 == window_end_) flush_windows();
}

void LayoutFile::finish(std::span<const std::int32_t> token_ids) {
  if (header_.layout.permutation) {
    const AlignedBuffer slab = encode_token_orders(header_, orders_);
    write_pages(layout_.permutation_extent(header_.num_tokens).offset, slab.bytes());
  }
  AlignedBuffer ids(header_.token_ids.bytes.value);
  std::memcpy(ids.data(), token_ids.data(), token_ids.size_bytes());
  header_.token_ids_checksum = checksum64(ids.bytes());
  AlignedBuffer pages(header_.page_checksums.bytes.value);
  std::memcpy(pages.data(), pages_.data(), pages_.size() * sizeof(std::uint64_t));
  header_.page_checksums_checksum = checksum64(pages.bytes());
  for (SlabRecord& slab : header_.slabs) {
    const auto first = (slab.extent.offset - kHeaderBytes) / kPageBytes;
    slab.checksum = checksum64(std::as_bytes(std::span(pages_).subspan(first, slab.extent.bytes.value / kPageBytes)));
  }
  file_.write(header_.token_ids.offset, ids.bytes(), options_.before_call);
  file_.write(header_.page_checksums.offset, pages.bytes(), options_.before_call);
  AlignedBuffer block(kHeaderBytes);
  std::ranges::copy(encode_header(header_), block.data());
  file_.write(0, block.bytes(), options_.before_call);
  file_.sync(options_.before_call);
  file_.close();
}

/// Layers whose payload lies together and can only be written together.
int LayoutFile::group_layers() const {
  if (header_.layout.kv.order == layout::KvOrder::layer_major) return 1;
  return header_.layout.kv.order == layout::KvOrder::chunk_major ? num_layers() : header_.layout.kv.period_layers;
}

std::uint64_t LayoutFile::payload_start(int layer_idx) const {
  if (layer_idx >= num_layers()) return layout_.payload_end(header_.num_tokens);
  return extent_of(layer_idx, PieceKind::key, 0).offset;
}

void LayoutFile::open_windows(int first) {
  const int group = group_layers();
  int end = first;
  do {
    end = std::min(num_layers(), end + group);
  } while (end < num_layers() &&
           payload_start(std::min(num_layers(), end + group)) - payload_start(first) <= kWriteBytes);
  window_end_ = end;
  payload_ = {payload_start(first), AlignedBuffer(payload_start(end) - payload_start(first))};
  identification_ = auxiliary_window(first, end, PieceKind::identification_keys);
  probes_ = auxiliary_window(first, end, PieceKind::probe_keys);
}

LayoutFile::Window LayoutFile::auxiliary_window(int first, int end, PieceKind kind) const {
  Window window;
  std::uint64_t stop = 0;
  for (int layer = first; layer < end; ++layer) {
    const bool has = kind == PieceKind::identification_keys ? layout_.has_identification_keys(layer)
                                                            : !header_.layout.probe_heads.empty();
    if (!has) continue;
    const layout::Extent extent = extent_of(layer, kind, header_.num_tokens);
    if (stop == 0) window.start = extent.offset;
    stop = extent.offset + extent.bytes.value;
  }
  if (stop > 0) window.buffer = AlignedBuffer(stop - window.start);
  return window;
}

void LayoutFile::copy_payload(int layer_idx, const LayerKv& kv) {
  const std::uint32_t block = header_.layout.kv.block_tokens;
  for (std::uint32_t first = 0, index = 0; first < header_.num_tokens; first += block, ++index) {
    const layout::Extent key = extent_of(layer_idx, PieceKind::key, index);
    const layout::Extent value = extent_of(layer_idx, PieceKind::value, index);
    copy_block(layer_idx, first, kv.keys, {payload_.at(key), key.bytes.value});
    copy_block(layer_idx, first, kv.values, {payload_.at(value), value.bytes.value});
  }
}

void LayoutFile::copy_block(int layer_idx, std::uint32_t first_place, std::span<const std::byte> tokens,
                            std::span<std::byte> out) const {
  const std::uint64_t token_bytes = header_.geometry.tensor_bytes_per_token().value;
  if (orders_.empty()) {
    std::memcpy(out.data(), tokens.data() + first_place * token_bytes, out.size());
    return;
  }
  const layout::TokenOrder& order = orders_[static_cast<std::size_t>(layer_idx)];
  for (std::size_t at = 0; at < out.size(); at += token_bytes) {
    const std::uint32_t token = order.token_at()[first_place + at / token_bytes];
    std::memcpy(out.data() + at, tokens.data() + token * token_bytes, token_bytes);
  }
}

void LayoutFile::flush_windows() {
  for (Window* window : {&payload_, &identification_, &probes_}) {
    write_pages(window->start, window->buffer.bytes());
    *window = Window{};
  }
}

void LayoutFile::write_pages(std::uint64_t offset, std::span<const std::byte> pages) {
  const std::uint64_t first_page = (offset - kHeaderBytes) / kPageBytes;
  for (std::size_t at = 0; at < pages.size(); at += kPageBytes) {
    pages_[first_page + at / kPageBytes] = checksum64(pages.subspan(at, kPageBytes));
  }
  file_.write(offset, pages, options_.before_call);
}

}  // namespace reprefill::engine
