#include "traces/workload/statistics.hpp"

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/random.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/traces/workload/trace_builder.hpp"
#include "traces/workload/conversation_generator.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

using ::testing::HasSubstr;

TEST(TraceStatistics, OfAnEmptyTraceAreZeroAndAbsent) {
  const TraceStatistics statistics = compute_statistics(RequestTrace(512));
  EXPECT_EQ(statistics.num_requests, 0u);
  EXPECT_EQ(statistics.leading_blocks_seen_before_fraction(), 0.0);
  EXPECT_FALSE(statistics.hits);
  EXPECT_FALSE(statistics.common_first_block);
  EXPECT_TRUE(to_json(statistics)["hits"].is_null());
  EXPECT_THAT(to_text(statistics), HasSubstr("no hits"));
}

TEST(TraceStatistics, FollowFourRequestsWorkedOutByHand) {
  // Blocks of 10 tokens, every prompt starts with block 0.
  const RequestTrace trace = make_trace(10, {
                                                {1000, 25, 3, {0, 1, 2}},  // nothing seen before
                                                {2000, 8, 1, {0}},         // run of 1: the common block alone, no hit
                                                {5000, 40, 2, {0, 1, 2, 3}},  // run of 3, last used at 1 s: 4 s ago
                                                {5500, 21, 9, {0, 1, 4}},     // run of 2, last used at 5 s: 0.5 s ago
                                            });
  const TraceStatistics s = compute_statistics(trace);
  EXPECT_EQ(s.num_requests, 4u);
  EXPECT_EQ(s.first_arrival, Nanoseconds{1'000'000'000});
  EXPECT_EQ(s.last_arrival, Nanoseconds{5'500'000'000});
  EXPECT_EQ(s.input_tokens.mean, 23.5);
  EXPECT_EQ(s.input_tokens.p50, 21u) << "the second of four, by nearest rank";
  EXPECT_EQ(s.input_tokens.p95, 40u);
  EXPECT_EQ(s.input_tokens.max, 40u);
  EXPECT_EQ(s.output_tokens.mean, 3.75);
  EXPECT_EQ(s.output_tokens.p50, 2u);
  EXPECT_EQ(s.num_blocks_referenced, 11u);
  EXPECT_EQ(s.num_distinct_blocks, 5u);
  EXPECT_EQ(s.num_distinct_blocks_used_again, 3u) << "0, 1 and 2";
  EXPECT_EQ(s.num_leading_blocks_seen_before, 0u + 1 + 3 + 2);
  EXPECT_EQ(s.common_first_block, 0u);
  EXPECT_EQ(s.num_requests_with_hit, 2u);
  ASSERT_TRUE(s.hits);
  EXPECT_EQ(s.hits->length_p50_blocks, 2u);
  EXPECT_EQ(s.hits->length_p95_blocks, 3u);
  EXPECT_EQ(s.hits->reuse_time_p50, Nanoseconds{500'000'000});
  EXPECT_EQ(s.hits->reuse_time_p95, Nanoseconds{4'000'000'000});
}

TEST(TraceStatistics, WithoutACommonFirstBlockARunOfOneBlockIsAHit) {
  const RequestTrace trace = make_trace(10, {{0, 10, 1, {0}}, {1, 10, 1, {5}}, {2, 10, 1, {0}}});
  const TraceStatistics s = compute_statistics(trace);
  EXPECT_FALSE(s.common_first_block);
  EXPECT_EQ(s.num_requests_with_hit, 1u);
  EXPECT_EQ(s.hits->reuse_time_p50, Nanoseconds{2'000'000});
}

TEST(TraceStatistics, ReuseTimeIsOfTheWholeHitPrefixNotOfItsBeginning) {
  const RequestTrace trace = make_trace(10, {{0, 20, 1, {1, 2}}, {7, 10, 1, {1}}, {9, 20, 1, {1, 2}}, {9, 10, 1, {3}}});
  EXPECT_EQ(compute_statistics(trace).hits->reuse_time_p95, Nanoseconds{9'000'000});
}

/// The same figures by the obvious way: compare with every earlier prompt.
TEST(TraceStatistics, AgreeWithComparingEveryPairOfPrompts) {
  ConversationWorkload workload;
  workload.num_requests = 250;
  workload.requests_per_s = 0.5;
  for (workload.seed = 1; workload.seed <= 5; ++workload.seed) {
    const RequestTrace trace = generate_conversations(workload);
    std::uint64_t leading = 0;
    std::size_t num_hits = 0;
    std::vector<std::int64_t> reuse_times;
    std::set<std::uint64_t> distinct;
    for (std::size_t later = 0; later < trace.size(); ++later) {
      std::size_t longest = 0;
      std::int64_t reuse_time = 0;
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        const auto a = trace[earlier].block_ids, b = trace[later].block_ids;
        const auto run = static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
        if (run >= longest) reuse_time = (trace[later].arrival - trace[earlier].arrival).value;
        longest = std::max(longest, run);
      }
      leading += longest;
      if (longest > 1) {
        ++num_hits;
        reuse_times.push_back(reuse_time);
      }
      for (const std::uint64_t id : trace[later].block_ids) distinct.insert(id);
    }
    std::sort(reuse_times.begin(), reuse_times.end());
    const TraceStatistics s = compute_statistics(trace);
    EXPECT_EQ(s.num_leading_blocks_seen_before, leading);
    EXPECT_EQ(s.num_requests_with_hit, num_hits);
    EXPECT_EQ(s.num_distinct_blocks, distinct.size());
    ASSERT_FALSE(reuse_times.empty());
    EXPECT_EQ(s.hits->reuse_time_p50.value, reuse_times[(reuse_times.size() + 1) / 2 - 1]);
  }
}

TEST(TraceStatistics, JsonCarriesUnitsInItsKeys) {
  const Json json =
      to_json(compute_statistics(make_trace(10, {{0, 10, 1, {4}}, {1500, 20, 1, {4, 5}}, {2000, 20, 1, {4, 5}}})));
  EXPECT_EQ(json["num_requests"], 3);
  EXPECT_EQ(json["last_arrival_s"], 2.0);
  EXPECT_EQ(json["common_first_block"], 4);
  EXPECT_EQ(json["hits"]["length_p50_blocks"], 2);
  EXPECT_EQ(json["hits"]["reuse_time_p50_s"], 0.5);
  EXPECT_EQ(json["input_tokens"]["p50"], 20);
}

/// The row that the README of a published cut gives for it.
std::string published_row(const std::filesystem::path& readme) {
  std::ifstream file(readme);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| this cut |")) return line;
  }
  return "no row in " + readme.string();
}

TEST(TraceStatistics, OfThePublishedCutsAreThoseOfTheirReadmes) {
  const auto traces = test_support::find_trace_folder();
  if (!traces) GTEST_SKIP() << test_support::kNoTraceFolder;
  for (const auto& [folder, file] : {std::pair("mooncake-conversation", "conversation_trace.first7000.jsonl"),
                                     std::pair("mooncake-synthetic", "synthetic_trace.first2400.jsonl")}) {
    const TraceStatistics statistics = compute_statistics(read_mooncake_jsonl(*traces / folder / file));
    EXPECT_EQ(to_markdown_row(statistics, "this cut"), published_row(*traces / folder / "README.md"));
  }
}

}  // namespace
}  // namespace reprefill::traces
