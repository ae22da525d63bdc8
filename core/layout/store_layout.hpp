// Where the pieces of a segment lie in its file (design 6, Store). One payload copy per layout; both machines read by
// it.
#pragma once

#include <string_view>
#include <vector>

#include "core/base/params.hpp"
#include "core/model/geometry.hpp"
#include "core/model/key_digest.hpp"
#include "core/model/piece.hpp"

namespace reprefill::layout {

enum class KvOrder : std::uint8_t { layer_major, period_major, chunk_major };
enum class KvPlacement : std::uint8_t { adjacent, apart };

/// Order of the payload, whether K and V of a block lie side by side, and the block that is read as one object.
struct KvLayout {
  KvOrder order = KvOrder::layer_major;
  KvPlacement kv = KvPlacement::apart;
  std::uint32_t block_tokens = 16;
  int period_layers = 8;  // of period_major only
  bool operator==(const KvLayout&) const = default;
};

/// Slabs beside the payload: keys that scoring reads in one object a layer.
struct AuxiliarySlabs {
  int identification_period = 0;       // every how many layers all-head keys are stored apart; 0: nowhere
  std::vector<int> probe_heads = {};   // query heads whose KV heads' keys are stored apart, in every layer
  KeyDigest digest = KeyDigest::none;  // what the identification slabs hold instead of keys
  std::uint32_t digest_tokens = 0;     // tokens of a digest's chunk; 0 where it has none
  /// The payload's tokens lie in an order of their own in each layer: which one at which place is stored beside it.
  /// Keys for scoring stay in the tokens' own order.
  bool permutation = false;
  bool operator==(const AuxiliarySlabs&) const = default;
};

inline constexpr std::uint64_t kStoreAlignment = 4096;
inline constexpr std::uint64_t kPermutationEntryBytes = 4;

struct Extent {
  std::uint64_t offset = 0;
  Bytes bytes;
};

/// File of a segment: a header of 4 KiB, payload slabs, auxiliary slabs, every slab aligned to 4 KiB. A block holds its
/// tokens' K of all KV heads, then V. A partly filled last block takes only the bytes of its tokens. A permutation is
/// the last slab, of all layers together.
///
/// Pieces of kind identification_keys and probe_keys name in their index how many leading tokens they cover: a request
/// that shares a part of a segment reads a part of the slab. Identification slabs hold keys or their digest.
class StoreLayout {
 public:
  StoreLayout(const ModelGeometry& geometry, const KvLayout& layout, AuxiliarySlabs auxiliary = {});

  const KvLayout& kv_layout() const { return layout_; }
  const AuxiliarySlabs& auxiliary() const { return auxiliary_; }
  Bytes piece_bytes(PieceKey piece, std::uint32_t segment_tokens) const;
  Extent extent(PieceKey piece, std::uint32_t segment_tokens) const;
  /// Header, payload and auxiliary slabs.
  Bytes file_bytes(std::uint32_t segment_tokens) const;
  Bytes payload_bytes(std::uint32_t segment_tokens) const;
  /// Offset behind the payload's last slab, where the auxiliary slabs begin.
  std::uint64_t payload_end(std::uint32_t segment_tokens) const;
  /// What storing one layer of a new segment writes, auxiliary slabs included.
  Bytes layer_bytes_written(int layer_idx, std::uint32_t segment_tokens) const;
  /// Of one layer, without alignment; 0 where there is none.
  std::uint64_t permutation_bytes(std::uint32_t segment_tokens) const {
    return auxiliary_.permutation ? segment_tokens * kPermutationEntryBytes : 0;
  }
  /// The permutation's slab: kPermutationEntryBytes for each token of layer 0, then of layer 1, ...
  Extent permutation_extent(std::uint32_t segment_tokens) const;
  bool has_identification_keys(int layer_idx) const {
    return auxiliary_.identification_period > 0 && layer_idx % auxiliary_.identification_period == 0;
  }

 private:
  std::uint64_t slab(std::uint64_t bytes) const {
    return (bytes + kStoreAlignment - 1) / kStoreAlignment * kStoreAlignment;
  }
  std::uint64_t identification_bytes(std::uint64_t tokens) const;
  std::uint64_t payload_offset(PieceKey piece, std::uint32_t segment_tokens) const;
  std::uint64_t auxiliary_offset(PieceKey piece, std::uint32_t segment_tokens) const;
  std::uint32_t block_tokens_of(PieceKey piece, std::uint32_t segment_tokens) const;

  KvLayout layout_;
  AuxiliarySlabs auxiliary_;
  int num_layers_;
  std::uint64_t tensor_bytes_;  // K (or V) of one token in one layer
  std::uint64_t probe_bytes_;   // probed keys of one token in one layer
  ModelGeometry geometry_;
};

const ParamTable<KvLayout>& kv_layout_params();

/// Every block or chunk size of a scenario divides store_block_tokens (semantics 1). Throws ConfigError that names
/// `place` ("scenario.json: systems[1].kv_layout.block_tokens") and the smallest value to set instead.
void check_block_tokens(std::string_view place, std::uint32_t block_tokens, std::uint32_t store_block_tokens);

}  // namespace reprefill::layout

namespace reprefill {
template <>
struct EnumNames<layout::KvOrder> {
  static constexpr std::pair<const char*, layout::KvOrder> names[] = {{"layer_major", layout::KvOrder::layer_major},
                                                                      {"period_major", layout::KvOrder::period_major},
                                                                      {"chunk_major", layout::KvOrder::chunk_major}};
};
template <>
struct EnumNames<layout::KvPlacement> {
  static constexpr std::pair<const char*, layout::KvPlacement> names[] = {{"adjacent", layout::KvPlacement::adjacent},
                                                                          {"apart", layout::KvPlacement::apart}};
};
}  // namespace reprefill
