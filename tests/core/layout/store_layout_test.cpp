#include "core/layout/store_layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/core/model/model_fixture.hpp"

namespace reprefill::layout {
namespace {

using test_support::qwen_7b;
using test_support::tiny_model;

constexpr std::uint64_t kKiB = 1024;

PieceKey piece(int layer_idx, PieceKind kind, std::uint32_t index) {
  return PieceKey::make(SegmentId{7}, layer_idx, kind, index);
}

void expect_extent(const StoreLayout& layout, PieceKey key, std::uint32_t segment_tokens, std::uint64_t offset,
                   std::uint64_t bytes) {
  const Extent extent = layout.extent(key, segment_tokens);
  EXPECT_EQ(extent.offset, offset);
  EXPECT_EQ(extent.bytes, Bytes{bytes});
  EXPECT_EQ(layout.piece_bytes(key, segment_tokens), Bytes{bytes});
}

// Qwen2.5-7B: K of one token in one layer is 1 KiB. A segment of 128 tokens; the header takes 4 KiB.

TEST(StoreLayout, LayerMajorApartPutsALayersKeysInFrontOfItsValues) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 64});
  expect_extent(layout, piece(0, PieceKind::key, 0), 128, 4 * kKiB, 64 * kKiB);
  expect_extent(layout, piece(0, PieceKind::key, 1), 128, (4 + 64) * kKiB, 64 * kKiB);
  expect_extent(layout, piece(0, PieceKind::value, 0), 128, (4 + 128) * kKiB, 64 * kKiB);
  expect_extent(layout, piece(2, PieceKind::value, 1), 128, (4 + 2 * 256 + 128 + 64) * kKiB, 64 * kKiB);
}

TEST(StoreLayout, LayerMajorAdjacentPutsAChunksValuesBehindItsKeys) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 16});
  expect_extent(layout, piece(0, PieceKind::key_value, 0), 128, 4 * kKiB, 32 * kKiB);
  expect_extent(layout, piece(0, PieceKind::key_value, 3), 128, (4 + 96) * kKiB, 32 * kKiB);
  expect_extent(layout, piece(0, PieceKind::key, 3), 128, (4 + 96) * kKiB, 16 * kKiB);
  expect_extent(layout, piece(0, PieceKind::value, 3), 128, (4 + 96 + 16) * kKiB, 16 * kKiB);
  expect_extent(layout, piece(1, PieceKind::key_value, 0), 128, (4 + 256) * kKiB, 32 * kKiB);
}

TEST(StoreLayout, PeriodMajorPutsAChunksLayersOfAPeriodSideBySide) {
  const StoreLayout layout(qwen_7b(), {KvOrder::period_major, KvPlacement::adjacent, 16, 8});
  expect_extent(layout, piece(0, PieceKind::key_value, 1), 128, (4 + 8 * 32) * kKiB, 32 * kKiB);
  expect_extent(layout, piece(1, PieceKind::key_value, 1), 128, (4 + 9 * 32) * kKiB, 32 * kKiB);
  // Layer 9 is the second of the second period: 8 layers x 128 tokens x 2 KiB come before.
  expect_extent(layout, piece(9, PieceKind::key_value, 0), 128, (4 + 2048 + 32) * kKiB, 32 * kKiB);
  // Layer 25 is the second of the last period, which has 4 layers: chunk 1 follows 4, not 8, of chunk 0.
  expect_extent(layout, piece(25, PieceKind::key_value, 1), 128, (4 + 3 * 2048 + 4 * 32 + 32) * kKiB, 32 * kKiB);
}

TEST(StoreLayout, ChunkMajorPutsAllLayersOfABlockSideBySide) {
  const StoreLayout layout(qwen_7b(), {KvOrder::chunk_major, KvPlacement::adjacent, 64});
  expect_extent(layout, piece(27, PieceKind::key_value, 0), 128, (4 + 27 * 128) * kKiB, 128 * kKiB);
  expect_extent(layout, piece(0, PieceKind::key_value, 1), 128, (4 + 28 * 128) * kKiB, 128 * kKiB);
}

TEST(StoreLayout, ChunkMajorApartPutsAllKeysOfABlockInFrontOfItsValues) {
  const StoreLayout layout(qwen_7b(), {KvOrder::chunk_major, KvPlacement::apart, 64});
  expect_extent(layout, piece(1, PieceKind::key, 0), 128, (4 + 64) * kKiB, 64 * kKiB);
  expect_extent(layout, piece(0, PieceKind::value, 0), 128, (4 + 28 * 64) * kKiB, 64 * kKiB);
  expect_extent(layout, piece(0, PieceKind::key, 1), 128, (4 + 2 * 28 * 64) * kKiB, 64 * kKiB);
}

TEST(StoreLayout, APermutationLiesBehindEverythingElseAndMovesNothing) {
  const KvLayout kv{KvOrder::layer_major, KvPlacement::apart, 64};
  const StoreLayout plain(qwen_7b(), kv, {.probe_heads = {0, 1, 2}});
  const StoreLayout permuted(qwen_7b(), kv, {.probe_heads = {0, 1, 2}, .permutation = true});
  for (const PieceKey key : {piece(3, PieceKind::key, 1), piece(27, PieceKind::probe_keys, 128)}) {
    EXPECT_EQ(permuted.extent(key, 128).offset, plain.extent(key, 128).offset);
  }
  // 28 layers x 128 tokens x 4 B = 14,336 B, in whole pages 16 KiB.
  EXPECT_EQ(permuted.permutation_extent(128).offset, plain.file_bytes(128).value);
  EXPECT_EQ(permuted.permutation_extent(128).bytes, Bytes{16 * kKiB});
  EXPECT_EQ(permuted.file_bytes(128), plain.file_bytes(128) + Bytes{16 * kKiB});
  EXPECT_EQ(permuted.layer_bytes_written(3, 128), plain.layer_bytes_written(3, 128) + Bytes{128 * 4});
  EXPECT_EQ(plain.permutation_bytes(128), 0u);
  EXPECT_EQ(plain.permutation_extent(128).bytes, Bytes{0});
}

TEST(StoreLayout, APartlyFilledLastBlockTakesOnlyItsTokens) {
  // lmcache_like blocks of 256 in a segment of 320: the second block holds 64 tokens.
  const StoreLayout apart(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 256});
  expect_extent(apart, piece(0, PieceKind::value, 1), 320, (4 + 320 + 256) * kKiB, 64 * kKiB);
  const StoreLayout chunks(qwen_7b(), {KvOrder::chunk_major, KvPlacement::adjacent, 256});
  expect_extent(chunks, piece(1, PieceKind::key_value, 1), 320, (4 + 28 * 512 + 128) * kKiB, 128 * kKiB);
  expect_extent(chunks, piece(1, PieceKind::value, 1), 320, (4 + 28 * 512 + 128 + 64) * kKiB, 64 * kKiB);
  EXPECT_EQ(chunks.file_bytes(320), Bytes{(4 + 28 * 640) * kKiB});
}

TEST(StoreLayout, ASegmentShorterThanABlockIsOneBlock) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 256});
  expect_extent(layout, piece(0, PieceKind::key_value, 0), 64, 4 * kKiB, 128 * kKiB);
  EXPECT_THROW(layout.extent(piece(0, PieceKind::key_value, 1), 64), InvariantError);
}

TEST(StoreLayout, ThePayloadOfAPartialLastPeriodTakesNoMoreThanItsLayers) {
  // 28 layers in periods of 8: no room for 32.
  for (const KvOrder order : {KvOrder::layer_major, KvOrder::period_major, KvOrder::chunk_major}) {
    const StoreLayout layout(qwen_7b(), {order, KvPlacement::adjacent, 16, 8});
    EXPECT_EQ(layout.payload_bytes(128), Bytes{28 * 256 * kKiB});
    EXPECT_EQ(layout.file_bytes(128), Bytes{(4 + 28 * 256) * kKiB});
  }
}

TEST(StoreLayout, IdentificationKeysOfLeadersFollowThePayload) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 16}, {.identification_period = 8});
  const std::uint64_t payload_end = (4 + 28 * 256) * kKiB;
  expect_extent(layout, piece(0, PieceKind::identification_keys, 128), 128, payload_end, 128 * kKiB);
  expect_extent(layout, piece(24, PieceKind::identification_keys, 128), 128, payload_end + 3 * 128 * kKiB, 128 * kKiB);
  EXPECT_EQ(layout.file_bytes(128), Bytes{payload_end + 4 * 128 * kKiB});
  EXPECT_TRUE(layout.has_identification_keys(24));
  EXPECT_FALSE(layout.has_identification_keys(25));
  EXPECT_THROW(layout.extent(piece(25, PieceKind::identification_keys, 128), 128), InvariantError);
}

TEST(StoreLayout, ARequestThatSharesPartOfASegmentReadsPartOfItsKeys) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 16}, {.identification_period = 8});
  expect_extent(layout, piece(8, PieceKind::identification_keys, 48), 128, (4 + 28 * 256 + 128) * kKiB, 48 * kKiB);
}

TEST(StoreLayout, ProbeKeysHoldTheProbedKvHeadsOfEveryLayer) {
  // Query heads 0, 1, 2 read one KV head of four: 256 bytes a token and layer.
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 64}, {.probe_heads = {0, 1, 2}});
  const std::uint64_t payload_end = (4 + 28 * 256) * kKiB;
  expect_extent(layout, piece(0, PieceKind::probe_keys, 128), 128, payload_end, 32 * kKiB);
  expect_extent(layout, piece(27, PieceKind::probe_keys, 128), 128, payload_end + 27 * 32 * kKiB, 32 * kKiB);
  EXPECT_EQ(layout.file_bytes(128), Bytes{payload_end + 28 * 32 * kKiB});
  const StoreLayout wide(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 64}, {.probe_heads = {0, 7, 14}});
  EXPECT_EQ(wide.piece_bytes(piece(0, PieceKind::probe_keys, 128), 128), Bytes{96 * kKiB});
}

TEST(StoreLayout, ProbeKeysFollowIdentificationKeysWhereBothAreStored) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 64},
                           {.identification_period = 14, .probe_heads = {0}});
  expect_extent(layout, piece(0, PieceKind::probe_keys, 128), 128, (4 + 28 * 256 + 2 * 128) * kKiB, 32 * kKiB);
}

TEST(StoreLayout, SlabsThatAreNoMultipleOf4KiBAreAlignedUp) {
  // The tiny model: K of 80 tokens is 2560 bytes, so each layer's K and V start on blocks of their own.
  const StoreLayout layout(tiny_model(), {KvOrder::layer_major, KvPlacement::apart, 16}, {.probe_heads = {0}});
  expect_extent(layout, piece(0, PieceKind::value, 0), 80, 2 * 4096, 512);
  expect_extent(layout, piece(2, PieceKind::key, 1), 80, 5 * 4096 + 512, 512);
  expect_extent(layout, piece(1, PieceKind::probe_keys, 80), 80, (7 + 1) * 4096, 1280);
  EXPECT_EQ(layout.file_bytes(80), Bytes{(7 + 3) * 4096});
}

TEST(StoreLayout, WritingALayerWritesItsPayloadAndItsAuxiliaryKeys) {
  const KvLayout kv{KvOrder::layer_major, KvPlacement::adjacent, 16};
  EXPECT_EQ(StoreLayout(qwen_7b(), kv).layer_bytes_written(0, 128), Bytes{256 * kKiB});
  const StoreLayout leaders(qwen_7b(), kv, {.identification_period = 8});
  EXPECT_EQ(leaders.layer_bytes_written(8, 128), Bytes{(256 + 128) * kKiB});
  EXPECT_EQ(leaders.layer_bytes_written(9, 128), Bytes{256 * kKiB});
  const StoreLayout probes(qwen_7b(), kv, {.probe_heads = {0, 1, 2}});
  EXPECT_EQ(probes.layer_bytes_written(9, 128), Bytes{(256 + 32) * kKiB});
}

TEST(StoreLayout, RefusesPiecesThatItDoesNotHold) {
  const StoreLayout apart(qwen_7b(), {KvOrder::layer_major, KvPlacement::apart, 64}, {.identification_period = 1});
  EXPECT_THROW(apart.extent(piece(0, PieceKind::key_value, 0), 128), InvariantError);
  EXPECT_THROW(apart.extent(piece(0, PieceKind::key, 2), 128), InvariantError);
  EXPECT_THROW(apart.extent(piece(28, PieceKind::key, 0), 128), InvariantError);
  EXPECT_THROW(apart.extent(piece(0, PieceKind::key, 0), 0), InvariantError);
  EXPECT_THROW(apart.extent(piece(0, PieceKind::probe_keys, 64), 128), InvariantError);
  EXPECT_THROW(apart.extent(piece(0, PieceKind::identification_keys, 0), 128), InvariantError);
  EXPECT_THROW(apart.extent(piece(0, PieceKind::identification_keys, 129), 128), InvariantError);
  EXPECT_NO_THROW(apart.extent(piece(0, PieceKind::identification_keys, 128), 128));
}

TEST(StoreLayout, OffsetsBeyondFourGigabytesAreExact) {
  const StoreLayout layout(qwen_7b(), {KvOrder::layer_major, KvPlacement::adjacent, 16});
  const std::uint32_t tokens = 131'072;  // 256 MiB a layer
  const std::uint32_t last = tokens / 16 - 1;
  expect_extent(layout, piece(27, PieceKind::key_value, last), tokens, 4096 + 28ull * tokens * 2048 - 32 * kKiB,
                32 * kKiB);
}

TEST(BlockTokens, MustDivideStoreBlockTokensAndTheErrorNamesTheValueToSet) {
  EXPECT_NO_THROW(check_block_tokens("x", 64, 64));
  EXPECT_NO_THROW(check_block_tokens("x", 16, 64));
  const auto message_of = [](std::uint32_t block_tokens) {
    return [=] { check_block_tokens("s.json: systems[1].kv_layout.block_tokens", block_tokens, 64); };
  };
  EXPECT_THAT(message_of(256), testing::ThrowsMessage<ConfigError>(
                                   "s.json: systems[1].kv_layout.block_tokens: found 256; expected a divisor of "
                                   "store_block_tokens (64): set store_block_tokens to 256"));
  EXPECT_THAT(message_of(48), testing::ThrowsMessage<ConfigError>(testing::HasSubstr("to 192")));
}

TEST(KvLayoutParams, NamesAreReadAndWritten) {
  const Json json = parse_json(R"({"order": "chunk_major", "kv": "adjacent", "block_tokens": 256})", "test");
  KvLayout kv;
  kv_layout_params().read(JsonValue(json, "test"), kv);
  EXPECT_EQ(kv, (KvLayout{KvOrder::chunk_major, KvPlacement::adjacent, 256, 8}));
  EXPECT_EQ(kv_layout_params().write(kv).dump(),
            R"({"order":"chunk_major","kv":"adjacent","block_tokens":256,"period_layers":8})");
  const Json wrong = parse_json(R"({"order": "layer_minor"})", "test");
  EXPECT_THROW(kv_layout_params().read(JsonValue(wrong, "test"), kv), ConfigError);
}

}  // namespace
}  // namespace reprefill::layout
