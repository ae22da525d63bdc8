// The first 4 KiB of a segment's file, and where the rest lies.
//
//   0                header
//
//   4096             payload slabs, identification keys or digests, probe keys, permutation: exactly
//                    core/layout/StoreLayout's extents
//
//   then             further slabs, each aligned to 4 KiB
//
//   token_ids        int32 x num_tokens, padded with zeros to 4 KiB
//
//   page_checksums   XXH3 (64 bits) of every 4 KiB page between header and token_ids, padded with zeros to 4 KiB
//
// The permutation of a reordered layout: for each layer the token (uint32, counted from the segment's first) at each
// place of the payload. Keys for scoring and token ids stay in the tokens' own order.
//
// One file per segment and layout, not sections of one file: StoreLayout's extents, which simulator and engine share,
// are then file offsets as they are; a copy can be added, repaired or deleted alone; and a system opens one small set
// of files. Little-endian throughout.
//
// A page is the unit of direct reads, so whatever was read can be verified without reading more: 8 bytes per 4 KiB are
// 0.2 % of the store. Checksums of checksums lead up to the header, which carries its own: no byte of a file is
// outside.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "engine/store/checksums.hpp"
#include "engine/store/manifest.hpp"

namespace reprefill::engine {

inline constexpr std::size_t kHeaderBytes = 4096;
inline constexpr std::size_t kPageBytes = 4096;  // of checksums
inline constexpr std::uint32_t kMaxSegmentTokens = (1u << PieceKey::kIndexBits) - 1;

/// Damaged bytes of a store. Exit code 3, like every fault of the machine; never used as if it were sound.
class StoreDamage : public MachineError {
 public:
  using MachineError::MachineError;
};

/// Numbers are part of the format. A reader skips kinds that it does not know.
enum class SlabKind : std::uint32_t {
  payload = 1,
  identification_keys = 2,
  probe_keys = 3,
  digests = 4,      // in place of identification keys: engine/digest
  permutation = 5,  // the order of tokens after IMPRESS's reordering
};
std::string_view slab_kind_name(std::uint32_t kind);

/// All slabs of one kind, of every layer.
struct SlabRecord {
  std::uint32_t kind = 0;
  layout::Extent extent;
  std::uint64_t checksum = 0;  // XXH3 over its pages' checksums
};

struct SegmentHeader {
  std::uint16_t minor_version = kStoreMinorVersion;
  std::uint64_t model_fingerprint = 0;
  SegmentKey key;
  std::optional<ParentLink> parent;
  std::uint32_t num_tokens = 0;
  StoreGeometry geometry;
  std::uint32_t store_block_tokens = 0;
  StoredLayout layout;
  std::uint32_t calibration_requests = 0;  // whose mean importance gave the permutation; 0: it is the tokens' own order
  std::vector<SlabRecord> slabs = {};      // ascending by offset
  layout::Extent token_ids = {};           // with padding
  std::uint64_t token_ids_checksum = 0;
  layout::Extent page_checksums = {};  // with padding
  std::uint64_t page_checksums_checksum = 0;
  Bytes file_bytes = {};

  std::size_t num_pages() const { return (token_ids.offset - kHeaderBytes) / kPageBytes; }
  layout::StoreLayout store_layout() const { return layout.store_layout(geometry.as_model()); }
};

constexpr std::uint64_t round_up_to_page(std::uint64_t bytes) {
  return divide_rounding_up(bytes, std::uint64_t{kPageBytes}) * kPageBytes;
}

/// A header with every place filled in and checksums still zero. `further` slabs follow those of the layout.
SegmentHeader plan_header(const StoreManifest& manifest, const StoredLayout& layout, SegmentKey key,
                          const std::optional<ParentLink>& parent, std::uint32_t num_tokens,
                          std::span<const SlabRecord> further = {});

using HeaderBlock = std::array<std::byte, kHeaderBytes>;
HeaderBlock encode_header(const SegmentHeader& header);
/// Writes the checksum that parse_header wants. For fuzzing and for tests of headers that lie.
void seal_header(std::span<std::byte, kHeaderBytes> block);

/// Throws StoreDamage, naming `place`, for anything that no writer writes, and ConfigError for a newer major version.
/// What it returns is consistent: places are where plan_header puts them, so that no offset can lead outside the file.
SegmentHeader parse_header(std::span<const std::byte> block, std::string_view place);

}  // namespace reprefill::engine
