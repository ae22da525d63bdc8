#include "engine/store/token_orders.hpp"

#include <algorithm>
#include <cstring>

namespace reprefill::engine {
namespace {

/// Of a slab: the checksum of its pages' checksums.
std::uint64_t checksum_of(const AlignedBuffer& slab) {
  std::vector<std::uint64_t> pages;
  for (std::size_t at = 0; at < slab.size(); at += kPageBytes) {
    pages.push_back(checksum64(slab.bytes().subspan(at, kPageBytes)));
  }
  return checksum64(std::as_bytes(std::span(pages)));
}

}  // namespace

TokenOrders read_token_orders(const StoreFile& file, const SegmentHeader& header) {
  const auto record = std::find_if(header.slabs.begin(), header.slabs.end(), [](const SlabRecord& slab) {
    return slab.kind == static_cast<std::uint32_t>(SlabKind::permutation);
  });
  REPREFILL_CHECK(record != header.slabs.end(), "{} has no permutation", file.path().string());
  AlignedBuffer slab(record->extent.bytes.value);
  file.read(record->extent.offset, slab.bytes());
  if (checksum_of(slab) != record->checksum) {
    throw StoreDamage(fmt::format("{}: damaged permutation, bytes {} to {}", file.path().string(),
                                  record->extent.offset, record->extent.offset + record->extent.bytes.value - 1));
  }
  TokenOrders orders;
  for (std::uint32_t layer = 0; layer < header.geometry.num_layers; ++layer) {
    std::vector<std::uint32_t> token_at(header.num_tokens);
    const std::size_t bytes = token_at.size() * layout::kPermutationEntryBytes;
    std::memcpy(token_at.data(), slab.data() + layer * bytes, bytes);
    std::optional<layout::TokenOrder> order = layout::TokenOrder::from_places(std::move(token_at));
    if (!order) {
      throw StoreDamage(fmt::format("{}: permutation of layer {}: expected each of the tokens 0 to {} once",
                                    file.path().string(), layer, header.num_tokens - 1));
    }
    orders.push_back(std::move(*order));
  }
  return orders;
}

AlignedBuffer encode_token_orders(const SegmentHeader& header, const TokenOrders& orders) {
  REPREFILL_CHECK(orders.size() == header.geometry.num_layers, "orders of {} layers out of {}", orders.size(),
                  header.geometry.num_layers);
  AlignedBuffer slab(header.store_layout().permutation_extent(header.num_tokens).bytes.value);
  std::byte* out = slab.data();
  for (const layout::TokenOrder& order : orders) {
    REPREFILL_CHECK(order.num_tokens() == header.num_tokens, "an order of {} tokens out of {}", order.num_tokens(),
                    header.num_tokens);
    const std::span<const std::byte> bytes = std::as_bytes(order.token_at());
    std::memcpy(out, bytes.data(), bytes.size());
    out += bytes.size();
  }
  return slab;
}

TokenOrders own_orders(const SegmentHeader& header) {
  return TokenOrders(header.geometry.num_layers, layout::TokenOrder(header.num_tokens));
}

}  // namespace reprefill::engine
