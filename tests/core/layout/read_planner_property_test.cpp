// Random lists against a reference that marks aligned blocks one by one.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "core/base/random.hpp"
#include "core/layout/read_planner.hpp"
#include "tests/core/layout/layout_cases.hpp"

namespace reprefill::layout {
namespace {

constexpr std::uint32_t kSegmentLengths[] = {64, 100, 320};
std::uint32_t segment_tokens(SegmentId segment) { return kSegmentLengths[segment.value % 3]; }

using Block = std::pair<std::uint32_t, std::uint64_t>;  // segment, number of the aligned 4 KiB in its file

void add_blocks(std::set<Block>& blocks, SegmentId segment, std::uint64_t offset, std::uint64_t bytes) {
  for (std::uint64_t block = offset / 4096; block * 4096 < offset + bytes; ++block)
    blocks.insert({segment.value, block});
}

std::vector<PieceKey> random_list(const LayoutCase& tested, RandomStream& random) {
  const StoreLayout layout = tested.layout();
  std::vector<PieceKey> list;
  const std::uint64_t size = random.below(40);
  while (list.size() < size) {
    const SegmentId segment{static_cast<std::uint32_t>(random.below(4))};
    const std::uint32_t tokens = segment_tokens(segment);
    const int layer = static_cast<int>(random.below(static_cast<std::uint64_t>(tested.geometry.num_layers)));
    const auto kind = static_cast<PieceKind>(random.below(5));
    if (kind == PieceKind::key_value && tested.kv.kv == KvPlacement::apart) continue;
    if (kind == PieceKind::identification_keys && !layout.has_identification_keys(layer)) continue;
    if (kind == PieceKind::probe_keys && tested.auxiliary.probe_heads.empty()) continue;
    const bool auxiliary = kind == PieceKind::identification_keys || kind == PieceKind::probe_keys;
    const std::uint64_t index =
        auxiliary ? 1 + random.below(tokens) : random.below(divide_rounding_up(tokens, tested.kv.block_tokens));
    list.push_back(PieceKey::make(segment, layer, kind, static_cast<std::uint32_t>(index)));
  }
  if (random.below(2) == 0) std::sort(list.begin(), list.end());
  return list;
}

/// What the list needs, block by block, by the plainest means.
std::set<Block> needed_blocks(const StoreLayout& layout, const std::vector<PieceKey>& list) {
  std::set<Block> blocks;
  for (const PieceKey key : list) {
    const Extent extent = layout.extent(key, segment_tokens(key.segment()));
    add_blocks(blocks, key.segment(), extent.offset, extent.bytes.value);
  }
  return blocks;
}

/// Runs of needed blocks, joined over at most `gap_bytes` of blocks in between.
std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>> joined_runs(const std::set<Block>& blocks,
                                                                                 std::uint64_t gap_bytes) {
  std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>> runs;  // segment, first block, past block
  for (const auto& [segment, block] : blocks) {
    if (!runs.empty() && std::get<0>(runs.back()) == segment &&
        (block - std::get<2>(runs.back())) * 4096 <= gap_bytes) {
      std::get<2>(runs.back()) = block + 1;
    } else {
      runs.emplace_back(segment, block, block + 1);
    }
  }
  return runs;
}

void expect_common_rules(const ReadPlan& plan, const StoreLayout& layout, const std::vector<PieceKey>& list,
                         std::uint64_t max_request) {
  std::uint64_t logical = 0;
  for (const PieceKey key : list) logical += layout.piece_bytes(key, segment_tokens(key.segment())).value;
  EXPECT_EQ(plan.logical_bytes, Bytes{logical});
  std::uint64_t requested = 0;
  for (const ReadRequest& request : plan.requests) {
    EXPECT_EQ(request.offset % 4096, 0u);
    EXPECT_EQ(request.bytes.value % 4096, 0u);
    EXPECT_GT(request.bytes.value, 0u);
    EXPECT_LE(request.bytes.value, max_request);
    EXPECT_GE(request.offset, 4096u);
    EXPECT_LE(Bytes{request.offset + request.bytes.value}, layout.file_bytes(segment_tokens(request.segment)));
    requested += request.bytes.value;
  }
  EXPECT_EQ(plan.requested_bytes, Bytes{requested});
}

/// Every byte of every piece lies in a request that names the piece.
void expect_pieces_are_served(const ReadPlan& plan, const StoreLayout& layout, const std::vector<PieceKey>& list) {
  std::map<std::uint32_t, std::uint64_t> served;  // index in the list -> bytes in its requests
  for (const ReadRequest& request : plan.requests) {
    for (std::uint32_t i = 0; i < request.num_pieces; ++i) {
      const PlannedPiece& piece = plan.pieces.at(request.first_piece + i);
      EXPECT_EQ(piece.segment, request.segment);
      const std::uint64_t begin = std::max(piece.offset, request.offset);
      const std::uint64_t end = std::min(piece.end(), request.offset + request.bytes.value);
      if (begin < end) served[piece.list_index] += end - begin;
    }
  }
  ASSERT_EQ(plan.pieces.size(), list.size());
  for (const PlannedPiece& piece : plan.pieces) {
    const PieceKey key = list.at(piece.list_index);
    const Extent extent = layout.extent(key, segment_tokens(key.segment()));
    EXPECT_EQ(piece.offset, extent.offset);
    EXPECT_EQ(piece.bytes, extent.bytes);
    EXPECT_EQ(served[piece.list_index], piece.bytes.value);
  }
}

template <typename Check>
void for_random_lists(const char* stream, Check&& check) {
  RandomStream random(1, 0, stream);
  ReadPlan plan;
  for (const LayoutCase& tested : all_layout_cases()) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      SCOPED_TRACE(fmt::format("{}, list {}", tested.name, repeat));
      const std::vector<PieceKey> list = random_list(tested, random);
      check(tested.layout(), list, random, plan);
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
}

TEST(ReadPlannerProperty, MergedReadsAreExactlyTheJoinedRunsOfNeededBlocks) {
  for_random_lists("merged", [](const StoreLayout& layout, const std::vector<PieceKey>& list, RandomStream& random,
                                ReadPlan& plan) {
    const ReadLimits limits{.max_request_bytes = Bytes{4096 * (1 + random.below(16))},
                            .merge = true,
                            .max_merge_gap = Bytes{random.below(3) * random.below(20'000)}};
    plan_reads(list, layout, segment_tokens, limits, plan);
    std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>> expected;
    for (const auto& [segment, first, past] : joined_runs(needed_blocks(layout, list), limits.max_merge_gap.value)) {
      for (std::uint64_t block = first; block < past; block += limits.max_request_bytes.value / 4096) {
        expected.emplace_back(segment, block * 4096, std::min(limits.max_request_bytes.value, (past - block) * 4096));
      }
    }
    std::vector<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>> found;
    for (const ReadRequest& request : plan.requests) {
      found.emplace_back(request.segment.value, request.offset, request.bytes.value);
    }
    EXPECT_EQ(found, expected);
    expect_common_rules(plan, layout, list, limits.max_request_bytes.value);
    expect_pieces_are_served(plan, layout, list);
  });
}

TEST(ReadPlannerProperty, WithoutAGapTheReadBlocksAreTheNeededOnesAndNoneTwice) {
  for_random_lists("gapless",
                   [](const StoreLayout& layout, const std::vector<PieceKey>& list, RandomStream&, ReadPlan& plan) {
                     plan_reads(list, layout, segment_tokens, {}, plan);
                     std::set<Block> read;
                     for (const ReadRequest& request : plan.requests) {
                       add_blocks(read, request.segment, request.offset, request.bytes.value);
                     }
                     EXPECT_EQ(read, needed_blocks(layout, list));
                     EXPECT_EQ(plan.requested_bytes, Bytes{4096 * read.size()});
                   });
}

/// Lengths of the list's objects: in a chunk-major file, neighbours of one block; else single pieces.
std::vector<std::size_t> object_lengths(const StoreLayout& layout, const std::vector<PieceKey>& list) {
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const bool is_payload = list[i].kind() <= PieceKind::key_value;
    if (i > 0 && layout.kv_layout().order == KvOrder::chunk_major && is_payload) {
      const Extent before = layout.extent(list[i - 1], segment_tokens(list[i - 1].segment()));
      const Extent here = layout.extent(list[i], segment_tokens(list[i].segment()));
      const bool same_block = list[i].segment() == list[i - 1].segment() && list[i].index() == list[i - 1].index();
      if (same_block && before.offset + before.bytes.value == here.offset) {
        ++lengths.back();
        continue;
      }
    }
    lengths.push_back(1);
  }
  return lengths;
}

TEST(ReadPlannerProperty, WithoutMergingEveryObjectIsReadByItselfInListOrder) {
  for_random_lists(
      "serial", [](const StoreLayout& layout, const std::vector<PieceKey>& list, RandomStream&, ReadPlan& plan) {
        plan_reads(list, layout, segment_tokens, {.max_request_bytes = Bytes{std::uint64_t{1} << 40}, .merge = false},
                   plan);
        const std::vector<std::size_t> lengths = object_lengths(layout, list);
        ASSERT_EQ(plan.requests.size(), lengths.size());
        std::size_t first = 0;
        for (std::size_t i = 0; i < lengths.size(); first += lengths[i++]) {
          std::set<Block> blocks;
          add_blocks(blocks, plan.requests[i].segment, plan.requests[i].offset, plan.requests[i].bytes.value);
          const auto begin = list.begin() + static_cast<std::ptrdiff_t>(first);
          EXPECT_EQ(blocks, needed_blocks(layout, {begin, begin + static_cast<std::ptrdiff_t>(lengths[i])}));
          EXPECT_EQ(plan.pieces[plan.requests[i].first_piece].list_index, first);
        }
        expect_common_rules(plan, layout, list, std::uint64_t{1} << 40);
        expect_pieces_are_served(plan, layout, list);
      });
}

TEST(ReadPlannerProperty, TheOrderOfTheListChangesNoMergedRequest) {
  for_random_lists("shuffled",
                   [](const StoreLayout& layout, std::vector<PieceKey> list, RandomStream& random, ReadPlan& plan) {
                     plan_reads(list, layout, segment_tokens, {}, plan);
                     for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random.below(i)]);
                     ReadPlan shuffled;
                     plan_reads(list, layout, segment_tokens, {}, shuffled);
                     EXPECT_EQ(shuffled.requests, plan.requests);
                   });
}

}  // namespace
}  // namespace reprefill::layout
