// Importance that was recorded elsewhere flags the row that uses it (semantics 8).
#include "sim/simulation/importance_mismatch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/sim/simulation/one_point.hpp"
#include "tests/traces/importance/trace_files.hpp"
#include "traces/importance/recorded_importance.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::sim {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Of qwen2.5-0.5b, the model of pool_scenario.
constexpr traces::RecordedFrom kSameModel{.num_layers = 24, .num_query_heads = 14, .num_kv_heads = 2};

class ImportanceMismatch : public testing::Test {
 protected:
  std::filesystem::path write(const traces::ImportanceTraceHeader& header, int last_layer_idx = 0) {
    const std::filesystem::path file = folder_ / "a.rimp";
    traces::ImportanceTraceWriter writer(file, header);
    traces::ImportanceRecord record = traces::small_keys_record();
    record.layer_idx = last_layer_idx;
    writer.add(record);
    writer.finish();
    return file;
  }

  std::string mismatch(const traces::ImportanceTraceHeader& header, int last_layer_idx = 0,
                       const std::vector<std::string>& sets = {}) {
    const std::filesystem::path file = write(header, last_layer_idx);
    std::vector<std::string> all = {"importance.kind=recorded", "importance.file=" + file.string()};
    all.insert(all.end(), sets.begin(), sets.end());
    const OnePoint one(pool_scenario("contiguous_kv"), all);
    return importance_mismatch(one.point(), traces::RecordedImportance::open(file));
  }

  static traces::ImportanceTraceHeader header() {
    traces::ImportanceTraceHeader header = traces::small_header();
    header.recorded_from = kSameModel;
    return header;
  }

  traces::ScratchFolder folder_;
};

TEST_F(ImportanceMismatch, SyntheticImportanceFitsEveryPoint) {
  const OnePoint one(pool_scenario("contiguous_kv"));
  EXPECT_EQ(importance_mismatch(
                one.point(), traces::SyntheticImportance(traces::importance_preset("paper-5pct", "t").params, {}, 1)),
            "");
}

TEST_F(ImportanceMismatch, ATraceOfTheSameModelWithFullKvFitsEverySystemAndBudget) {
  for (const char* budget : {"budget=0.05", "budget=0.5"}) EXPECT_EQ(mismatch(header(), 0, {budget}), "");
}

TEST_F(ImportanceMismatch, AnotherModelIsNamedByWhatDiffers) {
  traces::ImportanceTraceHeader other = header();
  other.recorded_from->num_layers = 28;
  other.recorded_from->num_query_heads = 28;
  EXPECT_EQ(mismatch(other),
            "layers of the model: recorded 28, here 24; query heads of the model: recorded 28, here 14");
}

TEST_F(ImportanceMismatch, ATraceThatNamesNoModelIsJudgedByItsHeadsAndLayers) {
  traces::ImportanceTraceHeader unnamed = traces::small_header(8);
  EXPECT_EQ(mismatch(unnamed, 16), "");  // the period from layer 16 ends at the last layer, 23
  EXPECT_EQ(mismatch(unnamed, 23), "");
  EXPECT_EQ(mismatch(unnamed, 15), "layers with scores: recorded 16, here 24");
  EXPECT_EQ(mismatch(unnamed, 24), "layers with scores: recorded 25, here 24");
  EXPECT_THAT(mismatch(unnamed, 23, {"model=qwen2.5-7b"}), HasSubstr("KV heads: recorded 2, here 4"));
}

TEST_F(ImportanceMismatch, APrunedRunFitsItsOwnSystemBudgetAndChunkOnly) {
  traces::ImportanceTraceHeader pruned = header();
  pruned.recorded_under = traces::RecordedUnder{.system = "contiguous_kv", .budget = "0.25", .chunk_tokens = 16};
  EXPECT_EQ(mismatch(pruned, 0, {"budget=0.25"}), "");
  EXPECT_EQ(mismatch(pruned, 0, {"budget=0.05"}), "budget: recorded 0.25, here 0.05");
  EXPECT_EQ(mismatch(pruned, 0, {"budget=0.25", "chunk_tokens=32"}), "chunk_tokens: recorded 16, here 32");
  pruned.recorded_under->system = "impress";
  EXPECT_THAT(mismatch(pruned, 0, {"budget=0.25"}),
              AllOf(HasSubstr("system: recorded impress"), Not(HasSubstr("budget"))));
}

TEST_F(ImportanceMismatch, TheRowSaysIt) {
  traces::ImportanceTraceHeader pruned = header();
  pruned.recorded_under = traces::RecordedUnder{.system = "impress", .budget = "0.05", .chunk_tokens = 1};
  const std::string file = "importance.file=" + write(pruned).string();
  // Recompute looks no score up, so that a trace of one record serves it.
  EXPECT_THAT(OnePoint(pool_scenario("recompute"), {"importance.kind=recorded", file}).row().at("importance_mismatch"),
              HasSubstr("system: recorded impress, here recompute"));
  EXPECT_FALSE(OnePoint(pool_scenario("recompute")).row().contains("importance_mismatch"));
}

}  // namespace
}  // namespace reprefill::sim
