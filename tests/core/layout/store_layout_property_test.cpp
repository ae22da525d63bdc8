// Pieces tile the payload: no two overlap, and every byte between header and end belongs to exactly one, except what
// aligns a slab.
#include <algorithm>

#include <gtest/gtest.h>

#include "core/layout/store_layout.hpp"
#include "tests/core/layout/layout_cases.hpp"

namespace reprefill::layout {
namespace {

enum class PayloadPieces { whole, split };

std::vector<Extent> payload_extents(const LayoutCase& tested, std::uint32_t tokens, PayloadPieces pieces) {
  const StoreLayout layout = tested.layout();
  const bool joined = pieces == PayloadPieces::whole && tested.kv.kv == KvPlacement::adjacent;
  const std::vector<PieceKind> kinds =
      joined ? std::vector{PieceKind::key_value} : std::vector{PieceKind::key, PieceKind::value};
  std::vector<Extent> extents;
  for (int layer = 0; layer < tested.geometry.num_layers; ++layer) {
    for (std::uint32_t block = 0; block * tested.kv.block_tokens < tokens; ++block) {
      for (const PieceKind kind : kinds) {
        extents.push_back(layout.extent(PieceKey::make(SegmentId{0}, layer, kind, block), tokens));
      }
    }
  }
  return extents;
}

std::vector<Extent> auxiliary_extents(const LayoutCase& tested, std::uint32_t tokens) {
  const StoreLayout layout = tested.layout();
  std::vector<Extent> extents;
  for (int layer = 0; layer < tested.geometry.num_layers; ++layer) {
    const auto add = [&](PieceKind kind) {
      extents.push_back(layout.extent(PieceKey::make(SegmentId{0}, layer, kind, tokens), tokens));
      EXPECT_EQ(extents.back().offset % kStoreAlignment, 0u);
    };
    if (layout.has_identification_keys(layer)) add(PieceKind::identification_keys);
    if (!tested.auxiliary.probe_heads.empty()) add(PieceKind::probe_keys);
  }
  return extents;
}

std::uint64_t total(const std::vector<Extent>& extents) {
  std::uint64_t bytes = 0;
  for (const Extent& extent : extents) bytes += extent.bytes.value;
  return bytes;
}

/// Goes through the file from the header on: each extent starts where the one before ends, or at the next multiple of
/// 4 KiB. Returns the aligned end.
std::uint64_t expect_tiled(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  const auto aligned = [](std::uint64_t offset) { return (offset + 4095) / 4096 * 4096; };
  std::uint64_t end = 4096;
  for (const Extent& extent : extents) {
    EXPECT_GT(extent.bytes, Bytes{0});
    EXPECT_TRUE(extent.offset == end || extent.offset == aligned(end)) << extent.offset << " after " << end;
    if (testing::Test::HasFailure()) return 0;
    end = extent.offset + extent.bytes.value;
  }
  return aligned(end);
}

constexpr std::uint32_t kSegmentTokens[] = {1, 63, 64, 100, 128, 320};

TEST(StoreLayoutProperty, PiecesTileTheFileInEveryLayout) {
  for (const LayoutCase& tested : all_layout_cases()) {
    for (const std::uint32_t tokens : kSegmentTokens) {
      SCOPED_TRACE(fmt::format("{}; {} tokens stored", tested.name, tokens));
      const std::vector<Extent> payload = payload_extents(tested, tokens, PayloadPieces::whole);
      std::vector<Extent> all = auxiliary_extents(tested, tokens);
      EXPECT_EQ(total(payload), tokens * tested.geometry.kv_bytes_per_token().value);
      EXPECT_EQ(Bytes{total(payload)}, tested.layout().payload_bytes(tokens));
      all.insert(all.end(), payload.begin(), payload.end());
      EXPECT_EQ(Bytes{expect_tiled(all)}, tested.layout().file_bytes(tokens));
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
}

TEST(StoreLayoutProperty, KeysAndValuesAloneTileTheSameBytesAsTheyDoTogether) {
  for (const LayoutCase& tested : all_layout_cases()) {
    for (const std::uint32_t tokens : kSegmentTokens) {
      SCOPED_TRACE(fmt::format("{}; {} tokens stored", tested.name, tokens));
      const std::uint64_t whole = expect_tiled(payload_extents(tested, tokens, PayloadPieces::whole));
      EXPECT_EQ(expect_tiled(payload_extents(tested, tokens, PayloadPieces::split)), whole);
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
}

TEST(StoreLayoutProperty, LayersTogetherWriteEveryPiece) {
  for (const LayoutCase& tested : all_layout_cases()) {
    for (const std::uint32_t tokens : kSegmentTokens) {
      const StoreLayout layout = tested.layout();
      std::uint64_t written = 0;
      for (int layer = 0; layer < tested.geometry.num_layers; ++layer) {
        written += layout.layer_bytes_written(layer, tokens).value;
      }
      ASSERT_EQ(written,
                total(payload_extents(tested, tokens, PayloadPieces::whole)) + total(auxiliary_extents(tested, tokens)))
          << tested.name;
    }
  }
}

}  // namespace
}  // namespace reprefill::layout
