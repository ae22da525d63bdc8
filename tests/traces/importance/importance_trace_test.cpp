#include "traces/importance/importance_trace.hpp"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/traces/importance/trace_files.hpp"
#include "traces/importance/recorded_importance.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::traces {
namespace {

TEST(ImportanceTrace, HeaderSurvivesTheRoundTrip) {
  ScratchFolder folder;
  ImportanceTraceHeader header = small_header(5);
  header.recorded_under = RecordedUnder{.system = "contiguous_kv", .budget = "0.05", .chunk_tokens = 16};
  header.recorded_from = RecordedFrom{.num_layers = 28, .num_query_heads = 28, .num_kv_heads = 4};
  ImportanceTraceWriter writer(folder / "a.rimp", header);
  writer.finish();
  const RecordedImportance trace = RecordedImportance::open(folder / "a.rimp");
  EXPECT_EQ(trace.header(), header);
  EXPECT_TRUE(trace.requests().empty());
}

TEST(ImportanceTrace, ScoresSurviveWithinTheRoundingOfTheirEncoding) {
  ScratchFolder folder;
  const SyntheticImportance source(importance_preset("paper-5pct", "test").params, {}, 1);
  const std::vector<SegmentSpan> prefix = {{SegmentId{0}, 640}, {SegmentId{1}, 75}};
  ImportanceRecord record{.request = 0, .layer_idx = 0, .channel_idx = 0, .span_tokens = {640, 75}, .scores = {}};
  record.scores.resize(4 * num_units(prefix, 1));
  source.unit_scores({.prefix = prefix, .grouping = HeadGrouping::per_kv_head}, 1, record.scores);

  for (const ScoreEncoding encoding : {ScoreEncoding::fp16, ScoreEncoding::log8}) {
    ImportanceTraceHeader header = small_header();
    header.channels = {{.name = "keys", .num_heads = 4, .granularity_tokens = 1, .encoding = encoding}};
    ImportanceTraceWriter writer(folder / "a.rimp", header);
    writer.add(record);
    writer.finish();
    const RecordedImportance trace = RecordedImportance::open(folder / "a.rimp");
    std::vector<float> found(record.scores.size());
    trace.unit_scores({.prefix = prefix, .grouping = HeadGrouping::per_kv_head}, 1, found);
    // fp16: half of 2^-10; log8: half a step, at most 32/254 octaves.
    const double bound = encoding == ScoreEncoding::fp16 ? 0x1p-11 : std::exp2(16.0 / 254) - 1;
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double exact = static_cast<double>(record.scores[i]);
      worst = std::max(worst, std::abs(static_cast<double>(found[i]) - exact) / exact);
    }
    EXPECT_LE(worst, bound * 1.001);
    EXPECT_GT(worst, 0.0);
  }
}

TEST(ImportanceTrace, SelectionsSurviveExactly) {
  ScratchFolder folder;
  RecordedSelection per_head = small_selection();
  per_head.layer_idx = 8;
  per_head.grouping = HeadGrouping::per_kv_head;
  per_head.num_groups = 2;
  per_head.scores = {0.1f, 1e-38f, 0.0f, 3e38f};
  per_head.chosen = {{0}, {}};
  per_head.is_everything = true;
  per_head.similarity = 0.1;
  ImportanceTraceWriter writer(folder / "a.rimp", small_header());
  writer.add(small_selection());
  writer.add(per_head);
  writer.finish();
  const RecordedImportance trace = RecordedImportance::open(folder / "a.rimp");
  EXPECT_EQ(trace.selection(4, 3, HeadGrouping::all_heads, 16), small_selection());
  EXPECT_EQ(trace.selection(4, 8, HeadGrouping::per_kv_head, 16), per_head);
  EXPECT_EQ(trace.selection(4, 3, HeadGrouping::all_heads, 32), std::nullopt);
  EXPECT_EQ(trace.selection(5, 3, HeadGrouping::all_heads, 16), std::nullopt);
  EXPECT_EQ(trace.selection(4, 4, HeadGrouping::all_heads, 16), std::nullopt);
}

TEST(ImportanceTrace, NothingAppearsUnderTheNameBeforeFinish) {
  ScratchFolder folder;
  {
    ImportanceTraceWriter writer(folder / "a.rimp", small_header());
    writer.add(small_keys_record());
    EXPECT_FALSE(std::filesystem::exists(folder / "a.rimp"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "an abandoned writer leaves its temporary file";
}

TEST(ImportanceTrace, AnAbandonedWriterKeepsTheFormerFile) {
  ScratchFolder folder;
  const auto before = small_trace(folder);
  { ImportanceTraceWriter writer(folder / "small.rimp", small_header()); }
  EXPECT_EQ(read_bytes(folder / "small.rimp"), before);
}

TEST(ImportanceTrace, EqualContentGivesEqualBytes) {
  ScratchFolder folder;
  EXPECT_EQ(small_trace(folder), small_trace(folder));
}

TEST(ImportanceTrace, AFolderThatDoesNotExistIsAMachineError) {
  ScratchFolder folder;
  EXPECT_THROW(ImportanceTraceWriter(folder / "none/a.rimp", small_header()), MachineError);
}

TEST(ImportanceTrace, TheWriterRefusesWhatCannotBeRead) {
  ScratchFolder folder;
  ImportanceTraceWriter writer(folder / "a.rimp", small_header());
  ImportanceRecord record = small_keys_record();
  record.scores.pop_back();
  EXPECT_THROW(writer.add(record), InvariantError);
  record = small_keys_record();
  record.scores[3] = std::nanf("");
  EXPECT_THROW(writer.add(record), InvariantError);
  record.scores[3] = -1;
  EXPECT_THROW(writer.add(record), InvariantError);
  RecordedSelection selection = small_selection();
  selection.chosen = {{6, 5}};
  EXPECT_THROW(writer.add(selection), ConfigError);
  selection.chosen = {{7}};
  EXPECT_THROW(writer.add(selection), ConfigError);
  ImportanceTraceHeader twice = small_header();
  twice.channels[1].name = "keys";
  EXPECT_THROW(ImportanceTraceWriter(folder / "b.rimp", twice), ConfigError);
}

}  // namespace
}  // namespace reprefill::traces
