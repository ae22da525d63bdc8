#include "core/layout/read_planner.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/core/model/model_fixture.hpp"

namespace reprefill::layout {
namespace {

using test_support::qwen_7b;
using test_support::tiny_model;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kKiB = 1024;
constexpr ReadLimits kDirect{};
constexpr ReadLimits kPrototype{.max_request_bytes = Bytes{~std::uint64_t{0}}, .merge = false};

PieceKey key_value(std::uint32_t segment, int layer_idx, std::uint32_t chunk) {
  return PieceKey::make(SegmentId{segment}, layer_idx, PieceKind::key_value, chunk);
}

/// Qwen2.5-7B, chunks of 16 tokens, 32 KiB each; layer l of a segment of 256 tokens starts at 4 + 512 l KiB.
StoreLayout chunk_layout() { return {qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 16}}; }

ReadPlan plan(const StoreLayout& layout, const std::vector<PieceKey>& pieces, const ReadLimits& limits,
              std::uint32_t segment_tokens = 256) {
  ReadPlan result;
  plan_reads(
      pieces, layout, [=](SegmentId) { return segment_tokens; }, limits, result);
  return result;
}

struct Place {
  std::uint64_t offset, bytes;
  std::uint32_t segment = 0;
  bool operator==(const Place&) const = default;
};
void PrintTo(const Place& place, std::ostream* out) {
  *out << place.bytes << " B at " << place.offset << " of segment " << place.segment;
}
std::vector<Place> places(const ReadPlan& plan) {
  std::vector<Place> result;
  for (const ReadRequest& request : plan.requests) {
    result.push_back({request.offset, request.bytes.value, request.segment.value});
  }
  return result;
}
std::vector<std::uint32_t> pieces_of(const ReadPlan& plan, std::size_t request) {
  std::vector<std::uint32_t> result;
  for (std::uint32_t i = 0; i < plan.requests[request].num_pieces; ++i) {
    result.push_back(plan.pieces[plan.requests[request].first_piece + i].list_index);
  }
  return result;
}

TEST(ReadPlanner, AnEmptyListAsksForNothing) {
  const ReadPlan result = plan(chunk_layout(), {}, kDirect);
  EXPECT_THAT(result.requests, IsEmpty());
  EXPECT_EQ(result.requested_bytes, Bytes{0});
  EXPECT_EQ(result.logical_bytes, Bytes{0});
}

TEST(ReadPlanner, AdjacentChunksBecomeOneReadAndAHoleSeparatesTwo) {
  const ReadPlan result = plan(chunk_layout(), {key_value(0, 0, 2), key_value(0, 0, 3), key_value(0, 0, 5)}, kDirect);
  EXPECT_THAT(places(result), ElementsAre(Place{68 * kKiB, 64 * kKiB}, Place{164 * kKiB, 32 * kKiB}));
  EXPECT_THAT(pieces_of(result, 0), ElementsAre(0, 1));
  EXPECT_THAT(pieces_of(result, 1), ElementsAre(2));
  EXPECT_EQ(result.requested_bytes, Bytes{96 * kKiB});
  EXPECT_EQ(result.logical_bytes, Bytes{96 * kKiB});
}

TEST(ReadPlanner, WithoutMergingEachObjectIsOneReadInListOrder) {
  const ReadPlan result =
      plan(chunk_layout(), {key_value(0, 0, 3), key_value(0, 0, 2), key_value(0, 1, 0)}, kPrototype);
  EXPECT_THAT(places(result),
              ElementsAre(Place{100 * kKiB, 32 * kKiB}, Place{68 * kKiB, 32 * kKiB}, Place{516 * kKiB, 32 * kKiB}));
  EXPECT_THAT(pieces_of(result, 1), ElementsAre(1));
}

TEST(ReadPlanner, MergingGoesByFileOrderWhateverTheListOrder) {
  const ReadPlan sorted = plan(chunk_layout(), {key_value(0, 0, 2), key_value(0, 0, 3)}, kDirect);
  const ReadPlan reversed = plan(chunk_layout(), {key_value(0, 0, 3), key_value(0, 0, 2)}, kDirect);
  EXPECT_EQ(places(sorted), places(reversed));
  EXPECT_THAT(pieces_of(reversed, 0), ElementsAre(1, 0));
}

TEST(ReadPlanner, PiecesOfDifferentSegmentsNeverMerge) {
  const ReadPlan result = plan(chunk_layout(), {key_value(1, 0, 1), key_value(0, 0, 0)}, kDirect);
  EXPECT_THAT(places(result), ElementsAre(Place{4 * kKiB, 32 * kKiB, 0}, Place{36 * kKiB, 32 * kKiB, 1}));
}

TEST(ReadPlanner, TheLastChunkOfALayerMergesWithTheFirstOfTheNext) {
  const ReadPlan result = plan(chunk_layout(), {key_value(0, 0, 15), key_value(0, 1, 0)}, kDirect);
  EXPECT_THAT(places(result), ElementsAre(Place{(4 + 480) * kKiB, 64 * kKiB}));
}

TEST(ReadPlanner, AGapUpToTheLimitIsReadAlong) {
  const std::vector<PieceKey> pieces = {key_value(0, 0, 0), key_value(0, 0, 2)};  // 32 KiB between them
  const ReadPlan along = plan(chunk_layout(), pieces, {.max_merge_gap = Bytes{32 * kKiB}});
  EXPECT_THAT(places(along), ElementsAre(Place{4 * kKiB, 96 * kKiB}));
  EXPECT_EQ(along.requested_bytes, Bytes{96 * kKiB});
  EXPECT_EQ(along.logical_bytes, Bytes{64 * kKiB});
  EXPECT_THAT(places(plan(chunk_layout(), pieces, {.max_merge_gap = Bytes{32 * kKiB - 1}})),
              ElementsAre(Place{4 * kKiB, 32 * kKiB}, Place{68 * kKiB, 32 * kKiB}));
}

TEST(ReadPlanner, AnUnlimitedGapReadsTheWholeStretch) {
  const ReadLimits everything{
      .max_request_bytes = Bytes{~std::uint64_t{0}}, .merge = true, .max_merge_gap = Bytes{~std::uint64_t{0}}};
  const ReadPlan result = plan(chunk_layout(), {key_value(0, 27, 15), key_value(0, 0, 0)}, everything);
  EXPECT_THAT(places(result), ElementsAre(Place{4 * kKiB, 28 * 512 * kKiB}));
}

TEST(ReadPlanner, ARunAboveTheLimitIsCutAtTheLimit) {
  // All 16 chunks of a layer and one of the next: 544 KiB against 512 KiB.
  std::vector<PieceKey> pieces;
  for (std::uint32_t chunk = 0; chunk < 16; ++chunk) pieces.push_back(key_value(0, 0, chunk));
  EXPECT_THAT(places(plan(chunk_layout(), pieces, kDirect)), ElementsAre(Place{4 * kKiB, 512 * kKiB}));
  pieces.push_back(key_value(0, 1, 0));
  const ReadPlan result = plan(chunk_layout(), pieces, kDirect);
  EXPECT_THAT(places(result), ElementsAre(Place{4 * kKiB, 512 * kKiB}, Place{516 * kKiB, 32 * kKiB}));
  EXPECT_EQ(result.requested_bytes, Bytes{544 * kKiB});
  EXPECT_EQ(result.requests[0].num_pieces, 16u);
  EXPECT_THAT(pieces_of(result, 1), ElementsAre(16));
}

TEST(ReadPlanner, APieceThatTheLimitCutsBelongsToEachOfItsRequests) {
  const ReadLimits small{.max_request_bytes = Bytes{24 * kKiB}};
  const ReadPlan result = plan(chunk_layout(), {key_value(0, 0, 0), key_value(0, 0, 1)}, small);
  EXPECT_THAT(places(result),
              ElementsAre(Place{4 * kKiB, 24 * kKiB}, Place{28 * kKiB, 24 * kKiB}, Place{52 * kKiB, 16 * kKiB}));
  EXPECT_THAT(pieces_of(result, 0), ElementsAre(0));
  EXPECT_THAT(pieces_of(result, 1), ElementsAre(0, 1));
  EXPECT_THAT(pieces_of(result, 2), ElementsAre(1));
}

TEST(ReadPlanner, AnObjectAboveTheLimitIsCutWithoutMergingToo) {
  const ReadLimits serial{.max_request_bytes = Bytes{20 * kKiB}, .merge = false};
  EXPECT_THAT(places(plan(chunk_layout(), {key_value(0, 0, 0)}, serial)),
              ElementsAre(Place{4 * kKiB, 20 * kKiB}, Place{24 * kKiB, 12 * kKiB}));
}

TEST(ReadPlanner, ALimitThatIsNoMultipleOfTheAlignmentIsRoundedDown) {
  const ReadLimits odd{.max_request_bytes = Bytes{20 * kKiB + 4095}};
  EXPECT_THAT(places(plan(chunk_layout(), {key_value(0, 0, 0)}, odd)),
              ElementsAre(Place{4 * kKiB, 20 * kKiB}, Place{24 * kKiB, 12 * kKiB}));
  EXPECT_THROW(plan(chunk_layout(), {key_value(0, 0, 0)}, {.max_request_bytes = Bytes{4095}}), InvariantError);
}

// The tiny model: a chunk of 16 tokens has 1 KiB of K and V, so four share an aligned block.

StoreLayout tiny_layout() { return {tiny_model(), {KvOrder::layer_major, KvPlacement::adjacent, 16}}; }

TEST(ReadPlanner, SmallPiecesAreAlignedOutward) {
  const ReadPlan result = plan(tiny_layout(), {key_value(0, 0, 1)}, kDirect);
  EXPECT_THAT(places(result), ElementsAre(Place{4096, 4096}));
  EXPECT_EQ(result.logical_bytes, Bytes{1024});
  EXPECT_EQ(result.pieces[0].offset, 5120u);
}

TEST(ReadPlanner, PiecesThatShareABlockReadItOnceWhenMergedAndEachWhenNot) {
  const std::vector<PieceKey> pieces = {key_value(0, 0, 0), key_value(0, 0, 3)};
  EXPECT_EQ(plan(tiny_layout(), pieces, kDirect).requested_bytes, Bytes{4096});
  EXPECT_EQ(plan(tiny_layout(), pieces, kPrototype).requested_bytes, Bytes{2 * 4096});
}

TEST(ReadPlanner, TheGapCountsBetweenAlignedEnds) {
  // Chunks 0 and 7 lie in neighbouring aligned blocks: no gap, though 6 KiB lie between them.
  EXPECT_THAT(places(plan(tiny_layout(), {key_value(0, 0, 0), key_value(0, 0, 7)}, kDirect)),
              ElementsAre(Place{4096, 8192}));
  EXPECT_THAT(places(plan(tiny_layout(), {key_value(0, 0, 0), key_value(0, 0, 8)}, kDirect)),
              ElementsAre(Place{4096, 4096}, Place{3 * 4096, 4096}));
}

TEST(ReadPlanner, APieceListedTwiceIsReadOnceWhenMerged) {
  const ReadPlan result = plan(chunk_layout(), {key_value(0, 0, 4), key_value(0, 0, 4)}, kDirect);
  EXPECT_THAT(places(result), ElementsAre(Place{132 * kKiB, 32 * kKiB}));
  EXPECT_EQ(result.logical_bytes, Bytes{64 * kKiB});
}

TEST(ReadPlanner, EachSegmentsOwnLengthPlacesItsPieces) {
  ReadPlan result;
  const std::vector<PieceKey> pieces = {key_value(0, 1, 0), key_value(1, 1, 0)};
  plan_reads(
      pieces, chunk_layout(), [](SegmentId segment) { return segment.value == 0 ? 64u : 128u; }, kDirect, result);
  EXPECT_THAT(places(result),
              ElementsAre(Place{(4 + 128) * kKiB, 32 * kKiB, 0}, Place{(4 + 256) * kKiB, 32 * kKiB, 1}));
}

TEST(ReadPlanner, AReusedPlanKeepsNothingOfTheOneBefore) {
  ReadPlan reused;
  const auto tokens = [](SegmentId) { return 256u; };
  const std::vector<PieceKey> many = {key_value(0, 0, 1), key_value(0, 2, 1), key_value(3, 0, 1)};
  const std::vector<PieceKey> one = {key_value(0, 0, 9)};
  plan_reads(many, chunk_layout(), tokens, kDirect, reused);
  plan_reads(one, chunk_layout(), tokens, kDirect, reused);
  EXPECT_EQ(reused.requests, plan(chunk_layout(), one, kDirect).requests);
  EXPECT_EQ(reused.pieces.size(), 1u);
  EXPECT_EQ(reused.requested_bytes, Bytes{32 * kKiB});
  EXPECT_EQ(reused.logical_bytes, Bytes{32 * kKiB});
}

TEST(ReadPlanner, IdentificationKeysOfALayerAreOneObjectCutToTheLimit) {
  // 6,016 tokens x 1 KiB = 5.875 MiB: eleven requests of 512 KiB and one of 384; one read on the prototype path.
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 16}, {.identification_period = 8});
  const std::vector<PieceKey> keys = {PieceKey::make(SegmentId{0}, 8, PieceKind::identification_keys, 6016)};
  const ReadPlan direct = plan(layout, keys, kDirect, 6016);
  EXPECT_EQ(direct.requests.size(), 12u);
  EXPECT_EQ(direct.requests.back().bytes, Bytes{384 * kKiB});
  EXPECT_EQ(direct.requested_bytes, Bytes{6016 * kKiB});
  EXPECT_EQ(plan(layout, keys, kPrototype, 6016).requests.size(), 1u);
}

TEST(ReadPlanner, AttentionStoreReadsALayerInLargeRequestsOnTheDirectPathAndPerObjectOnThePrototype) {
  // 94 blocks of 64 KiB, K then V: one run of 11.75 MiB.
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 64});
  std::vector<PieceKey> pieces;
  for (const PieceKind kind : {PieceKind::key, PieceKind::value}) {
    for (std::uint32_t block = 0; block < 94; ++block) pieces.push_back(PieceKey::make(SegmentId{0}, 3, kind, block));
  }
  const ReadPlan direct = plan(layout, pieces, kDirect, 6016);
  EXPECT_EQ(direct.requests.size(), 24u);  // ceil(12,032 / 512)
  EXPECT_EQ(direct.requested_bytes, Bytes{12'032 * kKiB});
  const ReadPlan prototype = plan(layout, pieces, kPrototype, 6016);
  EXPECT_EQ(prototype.requests.size(), 188u);
  EXPECT_EQ(prototype.requested_bytes, direct.requested_bytes);
}

}  // namespace
}  // namespace reprefill::layout
