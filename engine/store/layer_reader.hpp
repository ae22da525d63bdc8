// K and V of a stored segment's layers in the tokens' own order, whatever the order in the file.
#pragma once

#include "engine/store/token_orders.hpp"
#include "engine/store/verify.hpp"

namespace reprefill::engine {

/// Of one file, every page checked. `file` and `pages` outlive this.
class LayerReader {
 public:
  /// Throws StoreDamage for a damaged permutation.
  LayerReader(const StoreFile& file, const PageVerifier& pages);

  /// K or V of all tokens: [num_tokens][num_kv_heads][head_dim]. Throws StoreDamage that names the page.
  void read(int layer_idx, PieceKind kind, std::span<std::byte> out) const;
  std::uint64_t bytes_per_layer() const;  // of K; as many of V

 private:
  void read_in_file_order(int layer_idx, PieceKind kind, std::span<std::byte> out) const;

  const StoreFile& file_;
  const PageVerifier& pages_;
  layout::StoreLayout layout_;
  TokenOrders orders_;  // empty: the tokens' own
};

}  // namespace reprefill::engine
