// What was given is what lies at StoreLayout's extents, in every layout and shape.
#include <cstring>

#include "engine/digest/key_digests.hpp"
#include "engine/store/system_layouts.hpp"
#include "engine/store/verify.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;

/// The segment's KV by tokens, read out of the source.
struct Source {
  std::vector<std::vector<std::byte>> keys, values;  // by layer
  std::uint64_t token_bytes = 0;

  Source(const StoreManifest& manifest, const SegmentKey& key, std::uint32_t tokens)
      : token_bytes(manifest.model.geometry.tensor_bytes_per_token().value) {
    for (int layer = 0; layer < static_cast<int>(manifest.model.geometry.num_layers); ++layer) {
      keys.push_back(kv_of(manifest, key, tokens, layer, KvTensor::keys));
      values.push_back(kv_of(manifest, key, tokens, layer, KvTensor::values));
    }
  }
  std::string tokens_of(const std::vector<std::byte>& tensor, std::uint32_t first, std::uint32_t count) const {
    return {reinterpret_cast<const char*>(tensor.data()) + first * token_bytes, count * token_bytes};
  }
};

std::string at(const std::string& file, const layout::Extent& extent) {
  return file.substr(extent.offset, extent.bytes.value);
}

/// The KV heads that the probe heads read, token by token: written down once more, head by head.
std::string probed(const Source& source, const ModelGeometry& model, const std::vector<int>& heads, int layer,
                   std::uint32_t tokens) {
  std::vector<bool> wanted(static_cast<std::size_t>(model.num_kv_heads));
  for (const int head : heads) wanted[static_cast<std::size_t>(head / model.group_size())] = true;
  const auto head_bytes = static_cast<std::size_t>(model.head_dim * model.kv_element_bytes);
  const std::string keys = source.tokens_of(source.keys[static_cast<std::size_t>(layer)], 0, tokens);
  std::string result;
  for (std::size_t i = 0; i * head_bytes < keys.size(); ++i) {
    if (wanted[i % wanted.size()]) result += keys.substr(i * head_bytes, head_bytes);
  }
  return result;
}

/// What an identification slab holds for these leading tokens' keys.
std::string identification(const StoredLayout& layout, const ModelGeometry& model, const std::string& keys) {
  if (layout.digest == KeyDigest::none) return keys;
  const DigestShape shape{.digest = layout.digest,
                          .type = StoreGeometry::of(model).kv_type,
                          .num_kv_heads = model.num_kv_heads,
                          .head_dim = model.head_dim,
                          .chunk_tokens = layout.digest_tokens};
  std::string digest(digest_bytes(shape, keys.size() / token_bytes(shape)), '\0');
  make_digest(shape, std::as_bytes(std::span(keys)), std::as_writable_bytes(std::span(digest)));
  return digest;
}

void expect_file_holds(const std::string& file, const StoredLayout& layout, const ModelGeometry& model,
                       const Source& source, std::uint32_t tokens) {
  const layout::StoreLayout places = layout.store_layout(model);
  const auto extent = [&](int layer, PieceKind kind, std::uint32_t index) {
    return places.extent(PieceKey::make(SegmentId{5}, layer, kind, index), tokens);
  };
  std::uint64_t non_padding = 0;
  for (int layer = 0; layer < model.num_layers; ++layer) {
    const auto l = static_cast<std::size_t>(layer);
    for (std::uint32_t block = 0; block * layout.kv.block_tokens < tokens; ++block) {
      const std::uint32_t first = block * layout.kv.block_tokens;
      const std::uint32_t count = std::min(layout.kv.block_tokens, tokens - first);
      const std::string key = source.tokens_of(source.keys[l], first, count);
      const std::string value = source.tokens_of(source.values[l], first, count);
      ASSERT_EQ(at(file, extent(layer, PieceKind::key, block)), key) << "K " << layer << " " << block;
      ASSERT_EQ(at(file, extent(layer, PieceKind::value, block)), value) << "V " << layer << " " << block;
      if (layout.kv.kv == layout::KvPlacement::adjacent && layout.kv.order == layout::KvOrder::layer_major) {
        ASSERT_EQ(at(file, extent(layer, PieceKind::key_value, block)), key + value);
      }
      non_padding += key.size() + value.size();
    }
    // A leading part of a slab is a piece too: a request that shares a part of the segment reads that.
    for (const std::uint32_t leading : {tokens, tokens / 2, 1u}) {
      if (leading == 0) continue;
      if (places.has_identification_keys(layer)) {
        ASSERT_EQ(at(file, extent(layer, PieceKind::identification_keys, leading)),
                  source.tokens_of(source.keys[l], 0, leading));
      }
      if (!layout.probe_heads.empty()) {
        ASSERT_EQ(at(file, extent(layer, PieceKind::probe_keys, leading)),
                  probed(source, model, layout.probe_heads, layer, leading));
      }
    }
    if (places.has_identification_keys(layer)) non_padding += source.keys[l].size();
    non_padding += probed(source, model, layout.probe_heads, layer, tokens).size();
  }
  // No synthetic element is zero, so whatever is zero is padding: of the size that the pieces leave.
  const std::string data = file.substr(kHeaderBytes, places.file_bytes(tokens).value - kHeaderBytes);
  const auto* words = reinterpret_cast<const std::uint8_t*>(data.data());
  std::uint64_t elements = 0;
  const auto element = static_cast<std::size_t>(model.kv_element_bytes);
  for (std::size_t i = 0; i < data.size(); i += element) {
    elements += std::any_of(words + i, words + i + element, [](std::uint8_t byte) { return byte != 0; }) ? 1u : 0u;
  }
  EXPECT_EQ(elements * element, non_padding) << "padding is not zero";
}

void expect_round_trip(const ModelGeometry& model, const StoreManifest& manifest, std::uint32_t tokens) {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "store", manifest);
  const std::optional<SegmentId> id = writer.add_prefix(ids_from(3, tokens), source_of(manifest));
  ASSERT_TRUE(id);
  const Source source(manifest, writer.store().segment(*id).key, tokens);
  for (std::size_t i = 0; i < manifest.layouts.size(); ++i) {
    SCOPED_TRACE(fmt::format("{}, {} tokens, {} layers", layout_name(manifest.layouts[i]), tokens, model.num_layers));
    const std::string file = read_text(writer.store().file_path(*id, i));
    expect_file_holds(file, manifest.layouts[i], model, source, tokens);
  }
  EXPECT_TRUE(verify_store(scan_store(folder / "store"), Repair::no).damage.empty());
}

TEST(RoundTrip, LayoutsOfAllSystems) {
  ModelGeometry model = small_model();
  model.num_layers = 19;  // two periods of 8 and a part of one
  model.num_query_heads = 14;
  model.head_dim = 64;
  for (const std::uint32_t tokens : {64u, 128u, 320u}) {
    expect_round_trip(
        model,
        {.model = {"m", 1, StoreGeometry::of(model)}, .store_block_tokens = 64, .layouts = default_layouts(model)},
        tokens);
  }
}

TEST(RoundTrip, AnyGeometryAndLayout) {
  RandomStream random(3, 0, "round trip");
  const auto below = [&](int count) { return static_cast<int>(random.below(static_cast<std::uint64_t>(count))); };
  for (int round = 0; round < 60; ++round) {
    ModelGeometry model = small_model();
    model.num_layers = 1 + below(9);
    model.num_kv_heads = 1 + below(3);
    model.num_query_heads = model.num_kv_heads * (1 + below(4));
    model.head_dim = 1 << below(7);
    model.kv_element_bytes = below(4) == 0 ? 4 : 2;
    const std::uint32_t block = 1u << below(7);
    std::vector<StoredLayout> layouts;
    for (int order = 0; order < 3; ++order) {
      for (int kv = 0; kv < 2; ++kv) {
        layout::AuxiliarySlabs auxiliary{.identification_period = below(2) * (1 + below(5))};
        for (int i = below(3); i > 0; --i) auxiliary.probe_heads.push_back(below(model.num_query_heads));
        layouts.push_back(make_stored_layout({static_cast<layout::KvOrder>(order), static_cast<layout::KvPlacement>(kv),
                                              std::max(1u, block >> below(3)), 1 + below(5)},
                                             auxiliary));
      }
    }
    const StoreManifest manifest{
        .model = {"m", 1, StoreGeometry::of(model)}, .store_block_tokens = block, .layouts = union_of_layouts(layouts)};
    expect_round_trip(model, manifest, block * static_cast<std::uint32_t>(1 + below(4)));
  }
}

TEST(RoundTrip, DigestsInPlaceOfIdentificationKeys) {
  for (const int element_bytes : {2, 4}) {
    ModelGeometry model = small_model();
    model.num_layers = 5;
    model.head_dim = 64;
    model.kv_element_bytes = element_bytes;
    const TemporaryFolder folder;
    const StoreManifest manifest = manifest_of(
        model,
        {"layer-adjacent-16+ident1int4", "layer-adjacent-16+ident2mean8+probe0-1", "period2-apart-32+ident3minmax16"},
        32);
    StoreWriter writer(folder / "store", manifest);
    const std::optional<SegmentId> id = writer.add_prefix(ids_from(3, 96), source_of(manifest));
    ASSERT_TRUE(id);
    const Source source(manifest, writer.store().segment(*id).key, 96);
    for (std::size_t i = 0; i < manifest.layouts.size(); ++i) {
      const StoredLayout& layout = manifest.layouts[i];
      const layout::StoreLayout places = layout.store_layout(model);
      const std::string file = read_text(writer.store().file_path(*id, i));
      for (int layer = 0; layer < model.num_layers; ++layer) {
        if (!places.has_identification_keys(layer)) continue;
        // Whole chunks in front: a request that shares them reads a part of the slab.
        for (const std::uint32_t leading : {96u, 32u, 16u}) {
          const PieceKey piece = PieceKey::make(SegmentId{5}, layer, PieceKind::identification_keys, leading);
          ASSERT_EQ(
              at(file, places.extent(piece, 96)),
              identification(layout, model, source.tokens_of(source.keys[static_cast<std::size_t>(layer)], 0, leading)))
              << layout_name(layout) << " " << layer << " " << leading;
        }
      }
    }
    EXPECT_TRUE(verify_store(scan_store(folder / "store"), Repair::no).damage.empty());
  }
}

TEST(RoundTrip, MoreThanOneWriteOfEightMebibytes) {
  ModelGeometry model = small_model();
  model.num_layers = 10;
  model.head_dim = 128;  // 512 bytes a token: 2 MiB a layer
  expect_round_trip(
      model, manifest_of(model, {"layer-adjacent-16+ident4", "layer-apart-64+probe0-1", "period4-apart-64"}, 64), 2048);
}

TEST(RoundTrip, WithAndWithoutDirectIoTheFilesAreTheSame) {
  const TemporaryFolder folder;
  make_small_store(folder / "a", {.direct = DirectIo::if_possible, .before_call = {}});
  make_small_store(folder / "b", {.direct = DirectIo::off, .before_call = {}});
  const auto a = files_below(folder / "a"), b = files_below(folder / "b");
  ASSERT_EQ(a.size(), b.size());
  ASSERT_EQ(a.size(), 6u);  // .lock, 2 x 2 files, store.json
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(read_text(a[i]), read_text(b[i])) << a[i];
}

}  // namespace
}  // namespace reprefill::engine
