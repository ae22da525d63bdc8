#include "core/model/piece.hpp"

#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace reprefill {
namespace {

TEST(PieceKey, KeepsItsPartsAtTheLargestValues) {
  const PieceKey key = PieceKey::make(SegmentId{(1u << 27) - 1}, 511, PieceKind::probe_keys, (1u << 25) - 1);
  EXPECT_EQ(key.segment().value, (1u << 27) - 1);
  EXPECT_EQ(key.layer_idx(), 511);
  EXPECT_EQ(key.kind(), PieceKind::probe_keys);
  EXPECT_EQ(key.index(), (1u << 25) - 1);
}

TEST(PieceKey, KeepsItsPartsForRandomValues) {
  RandomStream random(1, 0, "piece_test");
  for (int i = 0; i < 10'000; ++i) {
    const SegmentId segment{static_cast<std::uint32_t>(random.below(1u << 27))};
    const int layer = static_cast<int>(random.below(512));
    const auto kind = static_cast<PieceKind>(random.below(5));
    const auto index = static_cast<std::uint32_t>(random.below(1u << 25));
    const PieceKey key = PieceKey::make(segment, layer, kind, index);
    ASSERT_EQ(key.segment(), segment);
    ASSERT_EQ(key.layer_idx(), layer);
    ASSERT_EQ(key.kind(), kind);
    ASSERT_EQ(key.index(), index);
  }
}

TEST(PieceKey, OrdersBySegmentThenLayerThenIndex) {
  const auto key = [](std::uint32_t segment, int layer, std::uint32_t index) {
    return PieceKey::make(SegmentId{segment}, layer, PieceKind::key, index);
  };
  EXPECT_LT(key(0, 511, 9), key(1, 0, 0));
  EXPECT_LT(key(1, 3, 9), key(1, 4, 0));
  EXPECT_LT(key(1, 3, 8), key(1, 3, 9));
}

TEST(PieceKey, RefusesWhatDoesNotFit) {
  EXPECT_THROW(PieceKey::make(SegmentId{1u << 27}, 0, PieceKind::key, 0), InvariantError);
  EXPECT_THROW(PieceKey::make(SegmentId{0}, 512, PieceKind::key, 0), InvariantError);
  EXPECT_THROW(PieceKey::make(SegmentId{0}, -1, PieceKind::key, 0), InvariantError);
  EXPECT_THROW(PieceKey::make(SegmentId{0}, 0, PieceKind::key, 1u << 25), InvariantError);
}

}  // namespace
}  // namespace reprefill
