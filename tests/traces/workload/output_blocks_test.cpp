#include "traces/workload/output_blocks.hpp"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/traces/workload/trace_builder.hpp"

namespace reprefill::traces {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Blocks of 4 tokens; ids of partly filled last blocks are above 90.
std::vector<std::vector<std::uint64_t>> outputs_of(const std::vector<RequestLine>& lines) {
  const RequestTrace trace = make_trace(4, lines);
  std::vector<TraceRequest> requests;
  for (const TraceRequest& request : trace.requests()) requests.push_back(request);
  return output_block_ids(requests, 4);
}

TEST(OutputBlocks, AreThoseWithWhichTheNextPromptGoesOn) {
  // 10 prompt tokens are 2 full blocks and 2 tokens; 7 more fill 2 blocks and leave one token over.
  const auto outputs = outputs_of({{0, 10, 7, {1, 2, 91}}, {1, 20, 0, {1, 2, 3, 4, 5}}});
  EXPECT_THAT(outputs[0], ElementsAre(3, 4));
  EXPECT_THAT(outputs[1], IsEmpty());
}

TEST(OutputBlocks, TheFirstLaterPromptDecidesAndOtherPrefixesDoNot) {
  const auto outputs = outputs_of({{0, 8, 4, {1, 2}},
                                   {1, 12, 0, {1, 7, 8}},  // leaves after block 1
                                   {2, 8, 0, {1, 2}},      // goes on behind nothing
                                   {3, 12, 0, {1, 2, 3}},  // this one
                                   {4, 12, 0, {1, 2, 4}}});
  EXPECT_THAT(outputs[0], ElementsAre(3));
}

TEST(OutputBlocks, WhereNoPromptGoesOnTheyAreTheRequestsOwn) {
  const auto outputs = outputs_of({{0, 8, 12, {1, 2}}, {1, 8, 12, {1, 2}}, {2, 12, 0, {1, 2, 3}}, {3, 3, 9, {92}}});
  EXPECT_EQ(outputs[0].size(), 3u);
  EXPECT_EQ(outputs[0][0], 3u) << "as far as the next prompt reaches";
  EXPECT_EQ(outputs[1][0], 3u);
  EXPECT_EQ(outputs[3].size(), 3u) << "3 + 9 tokens";
  std::set<std::uint64_t> own;
  for (const auto& output : outputs) {
    for (const std::uint64_t id : output) {
      if (id != 3) own.insert(id);
    }
  }
  EXPECT_EQ(own.size(), 2u + 2 + 3) << "all different";
}

TEST(OutputBlocks, AnEarlierPromptIsNoContinuation) {
  const auto outputs = outputs_of({{0, 12, 0, {1, 2, 3}}, {1, 8, 4, {1, 2}}});
  EXPECT_EQ(outputs[1].size(), 1u);
  EXPECT_NE(outputs[1][0], 3u);
}

TEST(OutputBlocks, OfNothingAreNothing) {
  EXPECT_TRUE(outputs_of({}).empty());
  EXPECT_THAT(outputs_of({{0, 8, 3, {1, 2}}})[0], IsEmpty()) << "3 tokens fill no block";
}

}  // namespace
}  // namespace reprefill::traces
