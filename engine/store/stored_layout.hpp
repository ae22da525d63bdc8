// Names of the payload copies that a store keeps, and which copy serves which system.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/layout/store_layout.hpp"

namespace reprefill::engine {

/// One copy of the payload with the auxiliary slabs beside it: one file of every segment.
struct StoredLayout {
  layout::KvLayout kv = {};
  int identification_period = 0;
  std::vector<int> probe_heads = {};   // ascending, each once
  KeyDigest digest = KeyDigest::none;  // in place of identification keys
  std::uint32_t digest_tokens = 0;     // of one digest's chunk, where it has chunks
  bool permutation = false;            // each layer's tokens in an order of their own, which is stored beside them

  layout::AuxiliarySlabs auxiliary() const {
    return {identification_period, probe_heads, digest, digest_tokens, permutation};
  }
  layout::StoreLayout store_layout(const ModelGeometry& geometry) const { return {geometry, kv, auxiliary()}; }
  bool operator==(const StoredLayout&) const = default;
};

/// In one form: probe heads sorted, and the default period where no slab depends on it.
StoredLayout make_stored_layout(const layout::KvLayout& kv, const layout::AuxiliarySlabs& auxiliary);
StoredLayout make_stored_layout(const layout::StoreLayout& layout);

/// "layer-adjacent-16+ident8", "layer-apart-64+probe0-2", "period8-adjacent-16", "chunk-apart-64+probe0.7",
/// "layer-adjacent-16+ident8minmax16", "layer-adjacent-16+ident8int4", "layer-apart-64+probe0-2+reordered": order,
/// placement, block tokens, then the auxiliary slabs. Stable, since files are named by it.
std::string layout_name(const StoredLayout& layout);
/// The reverse. Throws ConfigError that names `place` and the grammar.
StoredLayout parse_layout_name(std::string_view name, std::string_view place);

/// Whether every extent of `needed` lies at the same offset in a file of `stored` and holds the same: same payload in
/// the same kind of order, and auxiliary slabs that are there and not displaced by others.
bool covers(const StoredLayout& stored, const StoredLayout& needed);

/// As few copies as serve all of them, by name: attention_store reads the file that impress needs, so that there is
/// one payload copy per kv_layout.
std::vector<StoredLayout> union_of_layouts(std::vector<StoredLayout> needed);

}  // namespace reprefill::engine
