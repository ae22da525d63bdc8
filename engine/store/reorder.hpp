// Rewriting a store's tokens in an order of their importance (reference 3.2): `reprefill store reorder`.
#pragma once

#include "engine/store/layout_file.hpp"
#include "engine/store/store.hpp"

namespace reprefill::engine {

struct ReorderOptions {
  std::string layout = {};                 // the copy to reorder; empty: the only one with probe keys
  std::uint32_t calibration_requests = 0;  // behind every order; kept in the files
  WriteOptions write = {};
  std::function<void(std::size_t num_done, std::size_t num_segments)> on_segment = nullptr;
};

struct ReorderReport {
  StoredLayout layout;  // the reordered copy
  std::size_t num_segments = 0;
  Bytes read, written;
};

/// Of the segment's tokens, one for each layer.
using OrderSource = std::function<TokenOrders(SegmentId)>;

/// The copy of a store that reorder_store reads. Throws ConfigError with the copies there are.
StoredLayout layout_to_reorder(const StoreManifest& manifest, const std::string& name);

/// Writes a reordered copy of one layout beside it, in every segment; one of before is replaced. All files are written
/// under temporary names and flushed, take their names, and only then does store.json name the layout: whoever is
/// killed leaves a store with the copies that it had, or without the reordered one, never with a part of it. Bytes are
/// checked as they are read. Holds the store's lock; sessions that are open go on with the files they have. Throws
/// what `Store::open` and `order_of` throw; the store is as before then.
ReorderReport reorder_store(const std::filesystem::path& folder, const ReorderOptions& options,
                            const std::function<OrderSource(const Store&)>& order_of);

}  // namespace reprefill::engine
