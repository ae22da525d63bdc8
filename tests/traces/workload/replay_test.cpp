#include "traces/workload/replay.hpp"

#include <limits>
#include <map>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/traces/workload/trace_builder.hpp"
#include "traces/workload/conversation_generator.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

using ::testing::ElementsAre;

std::vector<std::int64_t> arrivals_of(const Replay& replay) {
  std::vector<std::int64_t> arrivals;
  for (const ReplayRequest& replayed : replay.requests) arrivals.push_back(replayed.request.arrival.value);
  return arrivals;
}

/// One-block requests at these milliseconds.
RequestTrace trace_at(const std::vector<std::int64_t>& timestamps_ms) {
  std::vector<RequestLine> lines;
  for (const std::int64_t timestamp_ms : timestamps_ms) lines.push_back({timestamp_ms, 1, 1, {lines.size()}});
  return make_trace(512, lines);
}

TEST(PrepareReplay, SpreadsABinUntilTheNextTimestampAndTheLastLikeTheOneBefore) {
  const Replay replay = prepare_replay(trace_at({0, 0, 0, 3, 9, 9}), {});
  EXPECT_THAT(arrivals_of(replay), ElementsAre(0, 1'000'000, 2'000'000, 3'000'000, 9'000'000, 12'000'000));
}

TEST(PrepareReplay, RoundsSpreadArrivalsDownToNanoseconds) {
  EXPECT_THAT(arrivals_of(prepare_replay(trace_at({0, 0, 0, 1}), {})), ElementsAre(0, 333'333, 666'666, 1'000'000));
}

TEST(PrepareReplay, CannotSpreadWhereAllRequestsHaveOneTimestamp) {
  EXPECT_THAT(arrivals_of(prepare_replay(trace_at({7, 7, 7}), {})), ElementsAre(0, 0, 0));
}

TEST(PrepareReplay, SpreadsNoFurtherThanTheBinWidthItIsGiven) {
  const RequestTrace trace = trace_at({0, 0, 100, 100});
  EXPECT_THAT(arrivals_of(prepare_replay(trace, {.max_bin_width = Nanoseconds{3'000'000}})),
              ElementsAre(0, 1'500'000, 100'000'000, 101'500'000));
  EXPECT_THAT(arrivals_of(prepare_replay(trace, {.max_bin_width = Nanoseconds{0}})),
              ElementsAre(0, 0, 100'000'000, 100'000'000));
}

TEST(PrepareReplay, StartsAtZeroAndScalesFromThere) {
  EXPECT_THAT(arrivals_of(prepare_replay(trace_at({1000, 1002, 1005}), {.time_scale = 2.5})),
              ElementsAre(0, 5'000'000, 12'500'000));
}

TEST(PrepareReplay, OfAnEmptyTraceIsEmpty) { EXPECT_TRUE(prepare_replay(RequestTrace(512), {}).requests.empty()); }

TEST(PrepareReplay, DropsWhatExceedsTheContextLimitWithoutMovingTheOthers) {
  const RequestTrace trace = make_trace(10, {{0, 21, 1, {1, 2, 3}}, {0, 20, 1, {1, 2}}, {4, 5, 1, {9}}});
  const Replay replay = prepare_replay(trace, {.context_limit_tokens = 20});
  EXPECT_EQ(replay.num_dropped, 1u);
  EXPECT_EQ(replay.num_truncated, 0u);
  EXPECT_THAT(arrivals_of(replay), ElementsAre(2'000'000, 4'000'000))
      << "the dropped request keeps its share of the bin";
  EXPECT_EQ(replay.requests[0].trace_idx, 1u);
}

TEST(PrepareReplay, TruncatesToTheHeadOfThePrompt) {
  const RequestTrace trace = make_trace(10, {{0, 35, 7, {1, 2, 3, 4}}});
  const Replay replay = prepare_replay(trace, {.context_limit_tokens = 15, .over_limit = OverLimit::truncate});
  EXPECT_EQ(replay.num_truncated, 1u);
  EXPECT_EQ(replay.num_dropped, 0u);
  const TraceRequest& request = replay.requests.at(0).request;
  EXPECT_EQ(request.input_tokens, 15u);
  EXPECT_EQ(request.output_tokens, 7u);
  EXPECT_THAT(request.block_ids, ElementsAre(1, 2));
}

TEST(PrepareReplay, KeepsAConversationOnOneReplicaAndUsesThemAll) {
  ConversationWorkload workload;
  workload.num_requests = 2000;
  const RequestTrace trace = generate_conversations(workload);
  const Replay replay = prepare_replay(trace, {.num_replicas = 4});
  std::map<std::uint64_t, std::uint32_t> replica_of_second_block;
  std::vector<std::size_t> num_requests(4);
  for (const ReplayRequest& replayed : replay.requests) {
    ++num_requests.at(replayed.replica_idx);
    if (replayed.request.block_ids.size() < 2) continue;
    const auto [entry, is_new] =
        replica_of_second_block.try_emplace(replayed.request.block_ids[1], replayed.replica_idx);
    EXPECT_EQ(entry->second, replayed.replica_idx);
  }
  for (const std::size_t count : num_requests) EXPECT_NEAR(static_cast<double>(count), 500.0, 150.0);
}

TEST(PrepareReplay, ARequestOfOneBlockIsPlacedByThatBlock) {
  const RequestTrace trace = trace_at({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  std::set<std::uint32_t> replicas;
  for (const ReplayRequest& replayed : prepare_replay(trace, {.num_replicas = 3}).requests)
    replicas.insert(replayed.replica_idx);
  EXPECT_THAT(replicas, ElementsAre(0, 1, 2));
}

TEST(PrepareReplay, KeepsTheOrderOfArrivalUnderAnyScale) {
  ConversationWorkload workload;
  workload.num_requests = 500;
  const RequestTrace trace = generate_conversations(workload);
  for (const double time_scale : {1e-9, 0.1, 1.0, 3.7, 1e6}) {
    const std::vector<std::int64_t> arrivals = arrivals_of(prepare_replay(trace, {.time_scale = time_scale}));
    EXPECT_TRUE(std::is_sorted(arrivals.begin(), arrivals.end())) << time_scale;
  }
}

TEST(PrepareReplay, RefusesOptionsOutOfRange) {
  const RequestTrace trace = trace_at({0, 4'000'000'000'000});
  for (const double time_scale :
       {0.0, -1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), 2.0}) {
    EXPECT_THROW(prepare_replay(trace, {.time_scale = time_scale}), ConfigError) << time_scale;
  }
  EXPECT_THROW(prepare_replay(trace, {.num_replicas = 0}), ConfigError);
  EXPECT_THROW(prepare_replay(trace, {.context_limit_tokens = 0}), ConfigError);
  EXPECT_THROW(prepare_replay(trace, {.max_bin_width = Nanoseconds{-1}}), ConfigError);
}

TEST(PrepareReplay, SpreadsTheWidestPossibleBinWithoutOverflow) {
  const Replay replay = prepare_replay(trace_at({0, 0, 0, 0, 4'000'000'000'000}), {});
  EXPECT_EQ(replay.requests[3].request.arrival, Nanoseconds{3'000'000'000'000'000'000});
}

TEST(PrepareReplay, OfThePublishedCutDropsTheNumberThatSemanticsStates) {
  const auto traces = test_support::find_trace_folder();
  if (!traces) GTEST_SKIP() << test_support::kNoTraceFolder;
  const RequestTrace trace = read_mooncake_jsonl(*traces / "mooncake-conversation/conversation_trace.first7000.jsonl");
  EXPECT_EQ(prepare_replay(trace, {.context_limit_tokens = 32'768}).num_dropped, 517u);
}

double one_second(const TraceRequest&) { return 1.0; }

TEST(ScaleToUtilisation, StretchesTimeToTheWorkAskedFor) {
  // 4 requests of 1 s over 8 s on one replica are a utilisation of 0.5; half of that takes 16 s.
  Replay replay = prepare_replay(trace_at({0, 2000, 4000, 8000}), {});
  EXPECT_EQ(scale_to_utilisation(replay.requests, 0.25, 1, one_second), 2.0);
  EXPECT_THAT(arrivals_of(replay), ElementsAre(0, 4'000'000'000, 8'000'000'000, 16'000'000'000));
  EXPECT_EQ(scale_to_utilisation(replay.requests, 0.25, 1, one_second), 1.0) << "already there";
  EXPECT_EQ(scale_to_utilisation(replay.requests, 0.25, 4, one_second), 0.25)
      << "four replicas take four times the load";
}

TEST(ScaleToUtilisation, CountsKeptRequestsOnlyAtTheirTruncatedLength) {
  const RequestTrace trace = make_trace(10, {{0, 30, 1, {1, 2, 3}}, {1000, 10, 1, {4}}});
  Replay replay = prepare_replay(trace, {.context_limit_tokens = 10, .over_limit = OverLimit::truncate});
  const auto tokens_as_seconds = [](const TraceRequest& request) { return static_cast<double>(request.input_tokens); };
  EXPECT_EQ(scale_to_utilisation(replay.requests, 1.0, 1, tokens_as_seconds), 20.0);
}

TEST(ScaleToUtilisation, RefusesWhereNoScaleGivesAUtilisation) {
  Replay replay = prepare_replay(trace_at({0, 1}), {});
  for (const double utilisation : {0.0, -0.5, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(scale_to_utilisation(replay.requests, utilisation, 1, one_second), ConfigError);
  }
  EXPECT_THROW(scale_to_utilisation(replay.requests, 0.5, 0, one_second), ConfigError);
  EXPECT_THROW(scale_to_utilisation(replay.requests, 0.5, 1, [](const TraceRequest&) { return 0.0; }), ConfigError);
  EXPECT_THROW(scale_to_utilisation({}, 0.5, 1, one_second), ConfigError);
  Replay lone = prepare_replay(trace_at({5}), {});
  EXPECT_THROW(scale_to_utilisation(lone.requests, 0.5, 1, one_second), ConfigError);
}

}  // namespace
}  // namespace reprefill::traces
