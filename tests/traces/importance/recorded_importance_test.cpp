#include "traces/importance/recorded_importance.hpp"

#include <cstdlib>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/traces/importance/trace_files.hpp"
#include "traces/importance/importance_statistics.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::traces {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr SegmentSpan kPrefix[] = {{SegmentId{0}, 64}, {SegmentId{1}, 40}};

RecordedImportance write_and_open(const ScratchFolder& folder, const ImportanceTraceHeader& header,
                                  const std::function<void(ImportanceTraceWriter&)>& fill,
                                  const RecordedImportance::Options& options = {}) {
  ImportanceTraceWriter writer(folder / "a.rimp", header);
  fill(writer);
  writer.finish();
  return RecordedImportance::open(folder / "a.rimp", options);
}

RecordedImportance with_keys(const ScratchFolder& folder) {
  return write_and_open(folder, small_header(), [](auto& writer) { writer.add(small_keys_record()); });
}

std::vector<float> scores_of(const RecordedImportance& trace, ImportanceQuery query, int unit_tokens) {
  std::vector<float> out(static_cast<std::size_t>(trace.num_groups(query.grouping)) *
                         num_units(query.prefix, unit_tokens));
  trace.unit_scores(query, unit_tokens, out);
  return out;
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(RecordedImportance, ADigestsScoresComeFromTheChannelOfItsName) {
  ScratchFolder folder;
  ImportanceTraceHeader header = small_header();
  header.channels.push_back({.name = "digest:mean", .num_heads = 2, .granularity_tokens = 32});
  const std::size_t digest_channel = header.channels.size() - 1;
  const RecordedImportance trace = write_and_open(folder, header, [&](auto& writer) {
    writer.add(small_keys_record());
    ImportanceRecord record = small_keys_record();
    record.channel_idx = digest_channel;
    record.scores = {4, 3, 2, 1, 1, 1, 1, 1};  // two heads of two runs in each segment
    writer.add(record);
  });
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = kPrefix, .digest = KeyDigest::mean}, 32),
              ElementsAre(5, 4, 3, 2));
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = kPrefix}, 64), ElementsAre(30, 54))
      << "keys stay what they are";
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 4, .prefix = kPrefix, .digest = KeyDigest::mean}, 16); }),
              HasSubstr("runs of 32 tokens"));
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 4, .prefix = kPrefix, .digest = KeyDigest::int4}, 32); }),
              HasSubstr("no channel int4_keys; it has: "));
}

TEST(RecordedImportance, SumsRunsToUnitsHeadByHeadAndOverHeads) {
  ScratchFolder folder;
  const RecordedImportance trace = with_keys(folder);
  // Runs 1..4 lie in the first segment, 5..7 in the second.
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = kPrefix, .grouping = HeadGrouping::per_kv_head}, 32),
              ElementsAre(3, 7, 11, 7, 6, 14, 22, 14));
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = kPrefix}, 64), ElementsAre(30, 54));
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = kPrefix}, 16), ElementsAre(3, 6, 9, 12, 15, 18, 21));
  EXPECT_THAT(trace.requests(), ElementsAre(4u));
}

TEST(RecordedImportance, ReadsWhatThePythonRecorderWrites) {
  ScratchFolder folder;
  const std::string file = (folder / "python.rimp").string();
  const std::string command = "/usr/bin/python3 -B scripts/record_importance.py --self-test " + file + " 2>/dev/null";
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "no python3-xxhash here";
  const RecordedImportance trace = RecordedImportance::open(file);
  EXPECT_THAT(trace.requests(), ElementsAre(0u, 1u));
  EXPECT_EQ(trace.num_layers(), 3);
  const std::vector<SegmentSpan> prefix = trace.prefix_of(1);
  ASSERT_EQ(prefix.size(), 2u);
  EXPECT_EQ(prefix[1].num_tokens, 32u);
  for (const auto& [grouping, num_heads] : {std::pair{HeadGrouping::per_kv_head, 2}, {HeadGrouping::probe_heads, 3}}) {
    const auto scores = scores_of(trace, {.request = 1, .prefix = prefix, .layer_idx = 2, .grouping = grouping}, 1);
    ASSERT_EQ(scores.size(), static_cast<std::size_t>(num_heads) * 96);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      EXPECT_EQ(scores[i], static_cast<float>((1 + 2 + i / 96 + i % 96) % 7) / 8) << i;
    }
  }
}

TEST(RecordedImportance, ServesALeadingPartOfThePrefixCutIntoOtherSegments) {
  ScratchFolder folder;
  const RecordedImportance trace = with_keys(folder);
  const SegmentSpan other[] = {{SegmentId{8}, 32}, {SegmentId{9}, 64}};
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = other}, 32), ElementsAre(9, 21, 33));
  const SegmentSpan empty[] = {{SegmentId{8}, 0}, {SegmentId{9}, 16}};
  EXPECT_THAT(scores_of(trace, {.request = 4, .prefix = empty}, 16), ElementsAre(3));
}

TEST(RecordedImportance, RefusesUnitsThatCutARecordedRunOrLieBeyondTheRecord) {
  ScratchFolder folder;
  const RecordedImportance trace = with_keys(folder);
  const SegmentSpan cut[] = {{SegmentId{0}, 40}, {SegmentId{1}, 24}};
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 4, .prefix = cut}, 16); }), HasSubstr("token 40"));
  const SegmentSpan longer[] = {{SegmentId{0}, 128}};
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 4, .prefix = longer}, 16); }),
              HasSubstr("104 tokens recorded, 128 asked for"));
}

TEST(RecordedImportance, RefusesAChunkThatIsNotAMultipleOfTheGranularity) {
  ScratchFolder folder;
  const RecordedImportance trace = with_keys(folder);
  EXPECT_EQ(trace.granularity_tokens(HeadGrouping::all_heads), 16);
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 4, .prefix = kPrefix}, 24); }),
              HasSubstr("runs of 16 tokens"));
}

TEST(RecordedImportance, LayersInheritTheirPeriodsScoresAndNoOthers) {
  ScratchFolder folder;
  const RecordedImportance trace = write_and_open(folder, small_header(4), [](auto& writer) {
    ImportanceRecord record = small_keys_record();
    writer.add(record);
    record.layer_idx = 2;
    for (float& score : record.scores) score *= 10;
    writer.add(record);
  });
  const auto first = [&](int layer) {
    return scores_of(trace, {.request = 4, .prefix = kPrefix, .layer_idx = layer}, 16)[0];
  };
  EXPECT_EQ(first(0), 3);
  EXPECT_EQ(first(1), 3);
  EXPECT_EQ(first(2), 30);
  EXPECT_EQ(first(3), 30);
  EXPECT_THAT(error_of([&] { first(4); }), HasSubstr("no scores of request 4, layer 4"));
}

TEST(RecordedImportance, MissingRequestsAndChannelsAreNamed) {
  ScratchFolder folder;
  ImportanceTraceHeader header = small_header();
  header.channels.pop_back();
  const RecordedImportance trace =
      write_and_open(folder, header, [](auto& writer) { writer.add(small_keys_record()); });
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 5, .prefix = kPrefix}, 16); }), HasSubstr("request 5"));
  EXPECT_FALSE(trace.has_channel(HeadGrouping::probe_heads));
  EXPECT_THAT(error_of([&] { (void)trace.num_groups(HeadGrouping::probe_heads); }), HasSubstr("it has: keys"));
}

TEST(RecordedImportance, AnotherChannelMayServeTheKeys) {
  ScratchFolder folder;
  ImportanceTraceHeader header = small_header();
  header.channels[0].name = "digest:mean";
  const auto fill = [](auto& writer) { writer.add(small_keys_record()); };
  EXPECT_FALSE(write_and_open(folder, header, fill).has_channel(HeadGrouping::all_heads));
  const RecordedImportance trace =
      write_and_open(folder, header, fill, {.keys_channel = "digest:mean", .probe_channel = ""});
  EXPECT_TRUE(trace.has_channel(HeadGrouping::all_heads));
}

TEST(RecordedImportance, AnAsRunTraceHandsOutTheScoresThatTheRunConsumed) {
  ScratchFolder folder;
  const RecordedImportance trace = write_and_open(folder, small_header(), [](auto& writer) {
    writer.add(small_keys_record());
    writer.add(small_selection());
  });
  const RecordedSelection selection = small_selection();
  EXPECT_EQ(scores_of(trace, {.request = 4, .prefix = kPrefix, .layer_idx = 3}, 16), selection.scores);
  EXPECT_EQ(scores_of(trace, {.request = 4, .prefix = kPrefix, .layer_idx = 5}, 16), selection.scores);
  EXPECT_EQ(scores_of(trace, {.request = 4, .prefix = kPrefix, .layer_idx = 2}, 16)[0], 3);
  EXPECT_EQ(scores_of(trace, {.request = 4, .prefix = kPrefix, .layer_idx = 3}, 32)[0], 9);  // another unit size
  const SegmentSpan shorter[] = {{SegmentId{0}, 64}};
  EXPECT_THAT(error_of([&] { scores_of(trace, {.request = 4, .prefix = shorter, .layer_idx = 3}, 16); }),
              HasSubstr("7 recorded scores"));
}

TEST(RecordedImportance, RepeatedRecordsAreRefused) {
  ScratchFolder folder;
  const auto fill = [](auto& writer) {
    writer.add(small_keys_record());
    writer.add(small_keys_record());
  };
  EXPECT_THAT(error_of([&] { write_and_open(folder, small_header(), fill); }), HasSubstr("record 2"));
}

TEST(RecordedImportance, AReplayHasTheStatisticsOfTheRunUpToRounding) {
  ScratchFolder folder;
  const SyntheticImportance source(importance_preset("paper-5pct", "test").params, {}, 1);
  ImportanceTraceHeader header = small_header();
  header.channels = {{.name = "keys", .num_heads = 4, .granularity_tokens = 1, .encoding = ScoreEncoding::fp16},
                     {.name = "probe:0,1,2", .num_heads = 3, .granularity_tokens = 1, .encoding = ScoreEncoding::fp16}};
  const auto samples = make_importance_samples(1000, 2);
  const RecordedImportance trace = write_and_open(folder, header, [&](auto& writer) {
    for (const ImportanceSample& sample : samples) {
      for (std::size_t channel = 0; channel < 2; ++channel) {
        const HeadGrouping grouping = channel == 0 ? HeadGrouping::per_kv_head : HeadGrouping::probe_heads;
        ImportanceRecord record{
            .request = sample.request, .layer_idx = 0, .channel_idx = channel, .span_tokens = {1000}, .scores = {}};
        record.scores.resize(static_cast<std::size_t>(source.num_groups(grouping)) * 1000);
        source.unit_scores(
            {.request = sample.request, .task = sample.task, .prefix = sample.prefix, .grouping = grouping}, 1,
            record.scores);
        writer.add(record);
      }
    }
  });
  ImportanceStatisticsOptions options;
  options.num_layers = 1;
  const auto run = compute_importance_statistics(source, samples, options);
  const auto replay = compute_importance_statistics(trace, samples, options);
  for (std::size_t budget = 0; budget < run.size(); ++budget) {
    for (const char* name : {"head_union_blocks_touched", "vote_blocks_loaded", "probe_similarity"}) {
      EXPECT_NEAR(*run[budget].mean(name), *replay[budget].mean(name), 0.02) << name;
    }
  }
}

}  // namespace
}  // namespace reprefill::traces
