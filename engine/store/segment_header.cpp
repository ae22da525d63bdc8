#include "engine/store/segment_header.hpp"

#include <algorithm>
#include <cstring>

namespace reprefill::engine {
namespace {

constexpr char kMagic[8] = {'R', 'E', 'P', 'R', 'E', 'F', 'K', 'V'};
constexpr std::uint32_t kByteOrder = 0x01020304;
constexpr std::size_t kMaxSlabs = 16;
constexpr std::size_t kMaxProbeHeads = 512;
constexpr std::size_t kChecksumOffset = kHeaderBytes - sizeof(std::uint64_t);

struct RawSlab {
  std::uint32_t kind;
  std::uint32_t reserved;
  std::uint64_t offset;
  std::uint64_t bytes;
  std::uint64_t checksum;
};

/// As it lies in the file; every member is naturally aligned, so there is no hidden padding.
struct RawHeader {
  char magic[8];
  std::uint32_t byte_order;
  std::uint16_t major_version;
  std::uint16_t minor_version;
  std::uint64_t model_fingerprint;
  std::uint64_t key[2];
  std::uint64_t parent_key[2];
  std::uint32_t has_parent;
  std::uint32_t parent_tokens;
  std::uint32_t num_tokens;
  std::uint32_t store_block_tokens;
  std::uint32_t num_layers;
  std::uint32_t num_query_heads;
  std::uint32_t num_kv_heads;
  std::uint32_t head_dim;
  std::uint32_t kv_type;
  std::uint32_t order;
  std::uint32_t placement;
  std::uint32_t block_tokens;
  std::uint32_t period_layers;
  std::uint32_t identification_period;
  std::uint32_t num_probe_heads;
  std::uint32_t num_slabs;
  std::uint64_t token_ids_offset;
  std::uint64_t token_ids_bytes;
  std::uint64_t token_ids_checksum;
  std::uint64_t page_checksums_offset;
  std::uint64_t page_checksums_bytes;
  std::uint64_t page_checksums_checksum;
  std::uint64_t file_bytes;
  RawSlab slabs[kMaxSlabs];
  std::uint16_t probe_heads[kMaxProbeHeads];
  std::uint32_t identification_digest;  // since version 1.1; zeros before: keys
  std::uint32_t digest_tokens;
  std::uint32_t has_permutation;  // since version 1.2; zeros before
  std::uint32_t calibration_requests;
};
static_assert(sizeof(RawSlab) == 32);
static_assert(sizeof(RawHeader) == 56 + 16 * 4 + 7 * 8 + 32 * kMaxSlabs + 2 * kMaxProbeHeads + 4 * 4);
static_assert(sizeof(RawHeader) <= kChecksumOffset && std::is_trivially_copyable_v<RawHeader>);

std::uint64_t header_checksum(std::span<const std::byte> block) { return checksum64(block.first(kChecksumOffset)); }

bool same_extent(const layout::Extent& a, const layout::Extent& b) {
  return a.offset == b.offset && a.bytes == b.bytes;
}

SlabRecord record_of(SlabKind kind, std::uint64_t from, std::uint64_t to) {
  return {.kind = static_cast<std::uint32_t>(kind), .extent = {from, Bytes{to - from}}};
}

/// What StoreLayout says of the file, as one record per kind.
std::vector<SlabRecord> layout_slabs(const layout::StoreLayout& layout, std::uint32_t tokens) {
  const std::uint64_t payload_end = layout.payload_end(tokens);
  const layout::Extent permutation = layout.permutation_extent(tokens);
  const std::uint64_t end = permutation.offset;
  std::vector<SlabRecord> slabs = {record_of(SlabKind::payload, kHeaderBytes, payload_end)};
  std::uint64_t probes_from = end;
  if (!layout.auxiliary().probe_heads.empty()) {
    probes_from = layout.extent(PieceKey::make(SegmentId{0}, 0, PieceKind::probe_keys, tokens), tokens).offset;
  }
  if (layout.has_identification_keys(0)) {
    const bool keys = layout.auxiliary().digest == KeyDigest::none;
    slabs.push_back(record_of(keys ? SlabKind::identification_keys : SlabKind::digests, payload_end, probes_from));
  }
  if (probes_from < end) slabs.push_back(record_of(SlabKind::probe_keys, probes_from, end));
  if (layout.auxiliary().permutation) {
    slabs.push_back(record_of(SlabKind::permutation, end, end + permutation.bytes.value));
  }
  return slabs;
}

/// Fills in what follows from the data's end.
void place_trailer(SegmentHeader& header, std::uint64_t data_end) {
  header.token_ids = {data_end, Bytes{round_up_to_page(std::uint64_t{header.num_tokens} * sizeof(std::int32_t))}};
  const std::uint64_t pages_at = data_end + header.token_ids.bytes.value;
  header.page_checksums = {pages_at, Bytes{round_up_to_page(header.num_pages() * sizeof(std::uint64_t))}};
  header.file_bytes = Bytes{pages_at + header.page_checksums.bytes.value};
}

[[noreturn]] void damaged(std::string_view place, const std::string& what) {
  throw StoreDamage(fmt::format("{}: damaged header: {}", place, what));
}

/// Magic, byte order, version and checksum, in the order in which they give the most helpful message.
RawHeader read_raw(std::span<const std::byte> block, std::string_view place) {
  if (block.size() < kHeaderBytes) {
    damaged(place, fmt::format("the file has {} bytes, the header alone {}", block.size(), kHeaderBytes));
  }
  RawHeader raw;
  std::memcpy(&raw, block.data(), sizeof raw);
  if (std::memcmp(raw.magic, kMagic, sizeof kMagic) != 0) damaged(place, "it does not begin like a segment's file");
  if (raw.byte_order != kByteOrder) damaged(place, "its byte order is not little-endian");
  if (raw.major_version > kStoreMajorVersion) {
    throw ConfigError(
        fmt::format("{}: found format version {}.{}; this program reads version {}: use the reprefill "
                    "that wrote it, or build the store again",
                    place, raw.major_version, raw.minor_version, kStoreMajorVersion));
  }
  std::uint64_t stored = 0;
  std::memcpy(&stored, block.data() + kChecksumOffset, sizeof stored);
  if (stored != header_checksum(block)) damaged(place, fmt::format("checksum of bytes 0 to {}", kChecksumOffset - 1));
  if (raw.major_version == 0) damaged(place, "version 0");
  return raw;
}

void read_digest(const RawHeader& raw, layout::AuxiliarySlabs& auxiliary, std::string_view place) {
  auxiliary.digest = static_cast<KeyDigest>(raw.identification_digest);
  auxiliary.digest_tokens = raw.digest_tokens;
  const bool known = raw.identification_digest <= static_cast<std::uint32_t>(KeyDigest::int4);
  if (!known || is_per_chunk(auxiliary.digest) != (raw.digest_tokens > 0) ||
      (raw.identification_digest > 0 && raw.identification_period == 0) ||
      (raw.digest_tokens > 0 && raw.store_block_tokens % raw.digest_tokens != 0)) {
    damaged(place, "an impossible digest");
  }
}

StoredLayout read_layout(const RawHeader& raw, std::string_view place) {
  if (raw.order > 2 || raw.placement > 1 || raw.kv_type > 1 || raw.num_probe_heads > kMaxProbeHeads ||
      raw.num_slabs > kMaxSlabs || raw.period_layers < 1 || raw.period_layers > 511 ||
      raw.identification_period > 511 || raw.block_tokens < 1 || raw.store_block_tokens < 1 ||
      raw.store_block_tokens % raw.block_tokens != 0 || raw.has_permutation > 1 ||
      (raw.has_permutation == 0 && raw.calibration_requests > 0)) {
    damaged(place, "an impossible layout");
  }
  layout::AuxiliarySlabs auxiliary{.identification_period = static_cast<int>(raw.identification_period),
                                   .permutation = raw.has_permutation == 1};
  read_digest(raw, auxiliary, place);
  for (std::size_t i = 0; i < raw.num_probe_heads; ++i) {
    if (raw.probe_heads[i] >= raw.num_query_heads) damaged(place, "a probe head that the model does not have");
    auxiliary.probe_heads.push_back(raw.probe_heads[i]);
  }
  const layout::KvLayout kv{.order = static_cast<layout::KvOrder>(raw.order),
                            .kv = static_cast<layout::KvPlacement>(raw.placement),
                            .block_tokens = raw.block_tokens,
                            .period_layers = static_cast<int>(raw.period_layers)};
  const StoredLayout layout = make_stored_layout(kv, auxiliary);
  if (layout.kv != kv || layout.probe_heads != auxiliary.probe_heads) damaged(place, "a layout in another form");
  return layout;
}

void read_slabs(const RawHeader& raw, SegmentHeader& header, std::string_view place) {
  header.slabs = layout_slabs(header.store_layout(), header.num_tokens);
  const std::size_t num_fixed = header.slabs.size();
  if (raw.num_slabs < num_fixed) damaged(place, "slabs are missing");
  std::uint64_t end = header.slabs.back().extent.offset + header.slabs.back().extent.bytes.value;
  for (std::size_t i = 0; i < raw.num_slabs; ++i) {
    const RawSlab& slab = raw.slabs[i];
    const layout::Extent extent{slab.offset, Bytes{slab.bytes}};
    if (i < num_fixed) {
      if (slab.kind != header.slabs[i].kind || !same_extent(extent, header.slabs[i].extent)) {
        damaged(place, fmt::format("slab {} is not where the layout puts it", slab_kind_name(slab.kind)));
      }
      header.slabs[i].checksum = slab.checksum;
      continue;
    }
    const bool in_order =
        slab.offset == end && slab.bytes > 0 && slab.bytes % kPageBytes == 0 && slab.bytes <= std::uint64_t{1} << 50;
    if (!in_order || slab.kind <= static_cast<std::uint32_t>(SlabKind::permutation)) {
      damaged(place, fmt::format("slab {} at {} of {} bytes", slab_kind_name(slab.kind), slab.offset, slab.bytes));
    }
    header.slabs.push_back({slab.kind, extent, slab.checksum});
    end += slab.bytes;
  }
  place_trailer(header, end);
}

void read_trailer(const RawHeader& raw, SegmentHeader& header, std::string_view place) {
  if (!same_extent(header.token_ids, {raw.token_ids_offset, Bytes{raw.token_ids_bytes}}) ||
      !same_extent(header.page_checksums, {raw.page_checksums_offset, Bytes{raw.page_checksums_bytes}}) ||
      header.file_bytes.value != raw.file_bytes) {
    damaged(place, "token ids and checksums are not where they belong");
  }
  header.token_ids_checksum = raw.token_ids_checksum;
  header.page_checksums_checksum = raw.page_checksums_checksum;
}

}  // namespace

std::string_view slab_kind_name(std::uint32_t kind) {
  switch (static_cast<SlabKind>(kind)) {
    case SlabKind::payload:
      return "payload";
    case SlabKind::identification_keys:
      return "identification_keys";
    case SlabKind::probe_keys:
      return "probe_keys";
    case SlabKind::digests:
      return "digests";
    case SlabKind::permutation:
      return "permutation";
  }
  return "of an unknown kind";
}

SegmentHeader plan_header(const StoreManifest& manifest, const StoredLayout& layout, SegmentKey key,
                          const std::optional<ParentLink>& parent, std::uint32_t num_tokens,
                          std::span<const SlabRecord> further) {
  SegmentHeader header{.model_fingerprint = manifest.model.fingerprint,
                       .key = key,
                       .parent = parent,
                       .num_tokens = num_tokens,
                       .geometry = manifest.model.geometry,
                       .store_block_tokens = manifest.store_block_tokens,
                       .layout = layout};
  header.slabs = layout_slabs(header.store_layout(), num_tokens);
  std::uint64_t end = header.slabs.back().extent.offset + header.slabs.back().extent.bytes.value;
  for (SlabRecord slab : further) {
    slab.extent = {end, Bytes{round_up_to_page(slab.extent.bytes.value)}};
    end += slab.extent.bytes.value;
    header.slabs.push_back(slab);
  }
  place_trailer(header, end);
  return header;
}

HeaderBlock encode_header(const SegmentHeader& header) {
  REPREFILL_CHECK(header.slabs.size() <= kMaxSlabs && header.layout.probe_heads.size() <= kMaxProbeHeads,
                  "{} slabs and {} probe heads do not fit a header", header.slabs.size(),
                  header.layout.probe_heads.size());
  RawHeader raw{};
  std::memcpy(raw.magic, kMagic, sizeof kMagic);
  raw.byte_order = kByteOrder;
  raw.major_version = kStoreMajorVersion;
  raw.minor_version = header.minor_version;
  raw.model_fingerprint = header.model_fingerprint;
  raw.key[0] = header.key.high;
  raw.key[1] = header.key.low;
  if (header.parent) {
    raw.has_parent = 1;
    raw.parent_key[0] = header.parent->key.high;
    raw.parent_key[1] = header.parent->key.low;
    raw.parent_tokens = header.parent->num_tokens;
  }
  raw.num_tokens = header.num_tokens;
  raw.store_block_tokens = header.store_block_tokens;
  raw.num_layers = header.geometry.num_layers;
  raw.num_query_heads = header.geometry.num_query_heads;
  raw.num_kv_heads = header.geometry.num_kv_heads;
  raw.head_dim = header.geometry.head_dim;
  raw.kv_type = static_cast<std::uint32_t>(header.geometry.kv_type);
  raw.order = static_cast<std::uint32_t>(header.layout.kv.order);
  raw.placement = static_cast<std::uint32_t>(header.layout.kv.kv);
  raw.block_tokens = header.layout.kv.block_tokens;
  raw.period_layers = static_cast<std::uint32_t>(header.layout.kv.period_layers);
  raw.identification_period = static_cast<std::uint32_t>(header.layout.identification_period);
  raw.identification_digest = static_cast<std::uint32_t>(header.layout.digest);
  raw.digest_tokens = header.layout.digest_tokens;
  raw.has_permutation = header.layout.permutation ? 1 : 0;
  raw.calibration_requests = header.calibration_requests;
  raw.num_probe_heads = static_cast<std::uint32_t>(header.layout.probe_heads.size());
  std::transform(header.layout.probe_heads.begin(), header.layout.probe_heads.end(), raw.probe_heads,
                 [](int head) { return static_cast<std::uint16_t>(head); });
  raw.num_slabs = static_cast<std::uint32_t>(header.slabs.size());
  std::transform(header.slabs.begin(), header.slabs.end(), raw.slabs, [](const SlabRecord& slab) {
    return RawSlab{slab.kind, 0, slab.extent.offset, slab.extent.bytes.value, slab.checksum};
  });
  raw.token_ids_offset = header.token_ids.offset;
  raw.token_ids_bytes = header.token_ids.bytes.value;
  raw.token_ids_checksum = header.token_ids_checksum;
  raw.page_checksums_offset = header.page_checksums.offset;
  raw.page_checksums_bytes = header.page_checksums.bytes.value;
  raw.page_checksums_checksum = header.page_checksums_checksum;
  raw.file_bytes = header.file_bytes.value;

  HeaderBlock block{};
  std::memcpy(block.data(), &raw, sizeof raw);
  seal_header(block);
  return block;
}

void seal_header(std::span<std::byte, kHeaderBytes> block) {
  const std::uint64_t checksum = header_checksum(block);
  std::memcpy(block.data() + kChecksumOffset, &checksum, sizeof checksum);
}

SegmentHeader parse_header(std::span<const std::byte> block, std::string_view place) {
  const RawHeader raw = read_raw(block, place);
  SegmentHeader header{.minor_version = raw.minor_version,
                       .model_fingerprint = raw.model_fingerprint,
                       .key = {raw.key[0], raw.key[1]},
                       .parent = std::nullopt,
                       .num_tokens = raw.num_tokens,
                       .geometry = {.num_layers = raw.num_layers,
                                    .num_query_heads = raw.num_query_heads,
                                    .num_kv_heads = raw.num_kv_heads,
                                    .head_dim = raw.head_dim,
                                    .kv_type = raw.kv_type == 0 ? KvType::bf16 : KvType::fp32},
                       .store_block_tokens = raw.store_block_tokens,
                       .layout = read_layout(raw, place),
                       .calibration_requests = raw.calibration_requests};
  if (const auto problem = header.geometry.problem()) damaged(place, *problem);
  if (raw.num_tokens < 1 || raw.num_tokens > kMaxSegmentTokens || raw.num_tokens % raw.store_block_tokens != 0) {
    damaged(place, fmt::format("{} tokens in blocks of {}", raw.num_tokens, raw.store_block_tokens));
  }
  if (raw.has_parent > 1 || (raw.has_parent == 1) != (raw.parent_tokens > 0) ||
      raw.parent_tokens % raw.store_block_tokens != 0 || raw.parent_tokens > kMaxSegmentTokens) {
    damaged(place, fmt::format("it extends {} tokens of its parent", raw.parent_tokens));
  }
  if (raw.has_parent == 1) {
    header.parent = ParentLink{{raw.parent_key[0], raw.parent_key[1]}, raw.parent_tokens};
  }
  read_slabs(raw, header, place);
  read_trailer(raw, header, place);
  return header;
}

}  // namespace reprefill::engine
