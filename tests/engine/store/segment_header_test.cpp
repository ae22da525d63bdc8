#include "engine/store/segment_header.hpp"

#include <cstring>

#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using testing::HasSubstr;

SegmentHeader example() {
  const StoreManifest manifest = small_manifest();
  return plan_header(manifest, manifest.layouts[0], {.high = 1, .low = 2}, ParentLink{{3, 4}, 16}, 24);
}

TEST(SegmentHeader, ReadsBackWhatWasWritten) {
  const SegmentHeader header = example();
  const HeaderBlock block = encode_header(header);
  const SegmentHeader read = parse_header(block, "x.kv");
  EXPECT_EQ(read.key, header.key);
  EXPECT_EQ(read.parent, header.parent);
  EXPECT_EQ(read.num_tokens, 24u);
  EXPECT_EQ(read.geometry, header.geometry);
  EXPECT_EQ(read.layout, header.layout);
  EXPECT_EQ(read.slabs.size(), 2u);
  EXPECT_EQ(encode_header(read), block);
}

/// By hand: 3 layers of 2 x 24 x 32 bytes are a page each, identification keys of layers 0 and 2 a page each.
TEST(SegmentHeader, PlacesTokenIdsAndChecksumsBehindTheData) {
  const SegmentHeader header = example();
  EXPECT_EQ(header.slabs[0].extent.offset, 4096u);
  EXPECT_EQ(header.slabs[0].extent.bytes, Bytes{3 * 4096});
  EXPECT_EQ(header.slabs[1].extent.offset, 4u * 4096);
  EXPECT_EQ(header.slabs[1].extent.bytes, Bytes{2 * 4096});
  EXPECT_EQ(header.token_ids.offset, 6u * 4096);
  EXPECT_EQ(header.page_checksums.offset, 7u * 4096);
  EXPECT_EQ(header.num_pages(), 5u);
  EXPECT_EQ(header.file_bytes, Bytes{8 * 4096});
}

TEST(SegmentHeader, EveryFlippedBitIsNoticed) {
  const HeaderBlock sound = encode_header(example());
  for (std::size_t bit = 0; bit < 8 * kHeaderBytes; ++bit) {
    HeaderBlock block = sound;
    block[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const auto parse = [&] { parse_header(block, "x.kv"); };
    EXPECT_ANY_THROW(parse()) << "bit " << bit;
  }
}

TEST(SegmentHeader, AShortBlockIsRefused) {
  const HeaderBlock block = encode_header(example());
  for (const std::size_t size : {0u, 1u, 7u, 100u, 4095u}) {
    EXPECT_THAT(message_of<StoreDamage>([&] { parse_header(std::span(block).first(size), "x.kv"); }),
                HasSubstr("x.kv: damaged header"));
  }
}

TEST(SegmentHeader, ANewerMajorVersionSaysWhatToDo) {
  HeaderBlock block = encode_header(example());
  block[12] = std::byte{2};
  seal_header(block);
  EXPECT_THAT(message_of<ConfigError>([&] { parse_header(block, "x.kv"); }),
              testing::AllOf(HasSubstr("x.kv: found format version 2.2"), HasSubstr("reads version 1")));
}

TEST(SegmentHeader, UnknownSlabsOfANewerMinorVersionAreSkipped) {
  const StoreManifest manifest = small_manifest();
  const SlabRecord further[] = {{.kind = 6, .extent = {0, Bytes{100}}, .checksum = 11},
                                {.kind = 7, .extent = {0, Bytes{4096}}, .checksum = 12},
                                {.kind = 77, .extent = {0, Bytes{5000}}, .checksum = 13}};
  SegmentHeader header = plan_header(manifest, manifest.layouts[1], {1, 2}, std::nullopt, 8, further);
  header.minor_version = 9;
  const SegmentHeader read = parse_header(encode_header(header), "x.kv");
  ASSERT_EQ(read.slabs.size(), 5u);
  EXPECT_EQ(read.slabs[2].extent.bytes, Bytes{4096});
  EXPECT_EQ(read.slabs[4].kind, 77u);
  EXPECT_EQ(read.slabs[4].extent.bytes, Bytes{8192});
  EXPECT_EQ(read.token_ids.offset, read.slabs[4].extent.offset + 8192);
  EXPECT_EQ(encode_header(read), encode_header(header));
}

TEST(SegmentHeader, SaysWhatItsIdentificationSlabsHold) {
  for (const char* name : {"layer-adjacent-4+ident2", "layer-adjacent-4+ident2mean4", "layer-adjacent-4+ident1minmax2",
                           "layer-apart-8+ident3int4+probe0-1"}) {
    const StoreManifest manifest = manifest_of(small_model(), {name}, 8);
    const SegmentHeader header = plan_header(manifest, manifest.layouts[0], {1, 2}, std::nullopt, 8);
    const SegmentHeader read = parse_header(encode_header(header), "x.kv");
    EXPECT_EQ(layout_name(read.layout), name);
    EXPECT_EQ(slab_kind_name(read.slabs[1].kind),
              read.layout.digest == KeyDigest::none ? "identification_keys" : "digests");
  }
}

TEST(SegmentHeader, DigestsThatNoWriterWritesAreRefused) {
  const StoreManifest manifest = manifest_of(small_model(), {"layer-adjacent-4+ident2mean4"}, 8);
  const SegmentHeader good = plan_header(manifest, manifest.layouts[0], {1, 2}, std::nullopt, 8);
  const auto with = [&](const std::function<void(StoredLayout&)>& change) {
    SegmentHeader header = good;
    change(header.layout);
    const HeaderBlock block = encode_header(header);
    EXPECT_THROW(parse_header(block, "x.kv"), StoreDamage);
  };
  with([](StoredLayout& l) { l.digest = static_cast<KeyDigest>(4); });
  with([](StoredLayout& l) { l.digest = KeyDigest::int4; });
  with([](StoredLayout& l) { l.digest = KeyDigest::none; });
  with([](StoredLayout& l) { l.digest_tokens = 0; });
  with([](StoredLayout& l) { l.digest_tokens = 3; });
  with([](StoredLayout& l) { l.identification_period = 0; });
}

/// Headers with a correct checksum that say what no writer says.
TEST(SegmentHeader, LiesAreRefusedEvenWhenTheyCarryTheirChecksum) {
  const auto with = [](const std::function<void(SegmentHeader&)>& change) {
    SegmentHeader header = example();
    change(header);
    const HeaderBlock block = encode_header(header);
    EXPECT_THROW(parse_header(block, "x.kv"), StoreDamage);
  };
  with([](SegmentHeader& h) { h.num_tokens = 0; });
  with([](SegmentHeader& h) { h.num_tokens = 25; });
  with([](SegmentHeader& h) { h.num_tokens = 0xfffffff8; });
  with([](SegmentHeader& h) { h.parent->num_tokens = 0; });
  with([](SegmentHeader& h) { h.parent->num_tokens = 12; });
  with([](SegmentHeader& h) { h.geometry.num_layers = 0; });
  with([](SegmentHeader& h) { h.geometry.num_layers = 4; });
  with([](SegmentHeader& h) { h.geometry.num_kv_heads = 3; });
  with([](SegmentHeader& h) { h.geometry.head_dim = 0xffffffff; });
  with([](SegmentHeader& h) { h.geometry.num_query_heads = 0; });
  with([](SegmentHeader& h) { h.store_block_tokens = 0; });
  with([](SegmentHeader& h) { h.store_block_tokens = 6; });
  with([](SegmentHeader& h) { h.layout.kv.block_tokens = 0; });
  with([](SegmentHeader& h) { h.layout.kv.block_tokens = 16; });
  with([](SegmentHeader& h) { h.layout.kv.period_layers = 5; });
  with([](SegmentHeader& h) { h.layout.kv.order = static_cast<layout::KvOrder>(3); });
  with([](SegmentHeader& h) { h.layout.probe_heads = {4}; });
  with([](SegmentHeader& h) { h.layout.probe_heads = {1, 0}; });
  with([](SegmentHeader& h) { h.slabs.pop_back(); });
  with([](SegmentHeader& h) { h.slabs[0].extent.offset = 8192; });
  with([](SegmentHeader& h) { h.slabs[1].extent.bytes = Bytes{4096}; });
  with([](SegmentHeader& h) { h.slabs.push_back({.kind = 3, .extent = {6 * 4096, Bytes{4096}}}); });
  with([](SegmentHeader& h) { h.slabs.push_back({.kind = 4, .extent = {6 * 4096, Bytes{100}}}); });
  with([](SegmentHeader& h) { h.slabs.push_back({.kind = 4, .extent = {0, Bytes{~0ull - 4095}}}); });
  with([](SegmentHeader& h) { h.token_ids.offset += 4096; });
  with([](SegmentHeader& h) { h.page_checksums.bytes = Bytes{0}; });
  with([](SegmentHeader& h) { h.file_bytes = Bytes{~0ull}; });
}

TEST(SegmentKey, DependsOnModelParentLengthOfParentAndTokens) {
  const std::vector<std::int32_t> ids = ids_from(0, 8);
  const ParentLink parent{{1, 2}, 8};
  const SegmentKey key = make_segment_key(1, parent, ids);
  EXPECT_EQ(key, make_segment_key(1, parent, ids));
  EXPECT_NE(key, make_segment_key(2, parent, ids));
  EXPECT_NE(key, make_segment_key(1, std::nullopt, ids));
  EXPECT_NE(key, make_segment_key(1, ParentLink{{1, 3}, 8}, ids));
  EXPECT_NE(key, make_segment_key(1, ParentLink{{1, 2}, 16}, ids));
  EXPECT_NE(key, make_segment_key(1, parent, ids_from(1, 8)));
  EXPECT_NE(key, make_segment_key(1, parent, ids_from(0, 9)));
}

TEST(SegmentKey, IsThirtyTwoDigits) {
  const SegmentKey key{0x0123456789abcdef, 0xf};
  EXPECT_EQ(key.to_hex(), "0123456789abcdef000000000000000f");
  EXPECT_EQ(SegmentKey::from_hex(key.to_hex()), key);
  for (const char* text : {"", "0123", "0123456789ABCDEF000000000000000f", "0123456789abcdef000000000000000g",
                           "0123456789abcdef000000000000000ff"}) {
    EXPECT_EQ(SegmentKey::from_hex(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace reprefill::engine
