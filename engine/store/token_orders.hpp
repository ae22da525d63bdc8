// In which order a reordered file's tokens lie.
#pragma once

#include <vector>

#include "core/layout/token_order.hpp"
#include "engine/store/segment_header.hpp"
#include "engine/store/store_file.hpp"

namespace reprefill::engine {

/// [layer] of one segment.
using TokenOrders = std::vector<layout::TokenOrder>;

/// Of a file whose layout has a permutation. Throws StoreDamage that names the file and the layer: bytes that do not
/// have their checksum, or that are no permutation of the segment's tokens.
TokenOrders read_token_orders(const StoreFile& file, const SegmentHeader& header);

/// The permutation's slab. Throws InvariantError unless there is one order of all tokens for each layer.
AlignedBuffer encode_token_orders(const SegmentHeader& header, const TokenOrders& orders);

/// The tokens' own order in every layer.
TokenOrders own_orders(const SegmentHeader& header);

}  // namespace reprefill::engine
