#include "traces/importance/importance_statistics.hpp"

#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprefill::traces {
namespace {

/// Token masses by hand: [layer][group][token]; groups of layer 0 serve every grouping.
class TableSource final : public ImportanceSource {
 public:
  std::map<HeadGrouping, std::vector<std::vector<std::vector<float>>>> tokens;  // [grouping][layer][group][token]

  int num_groups(HeadGrouping grouping) const override { return static_cast<int>(tokens.at(grouping)[0].size()); }
  bool has_channel(HeadGrouping grouping) const override { return tokens.contains(grouping); }
  int granularity_tokens(HeadGrouping) const override { return 1; }
  void unit_scores(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const override {
    std::fill(out.begin(), out.end(), 0.0f);
    const auto& groups = tokens.at(query.grouping)[static_cast<std::size_t>(query.layer_idx)];
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t t = 0; t < groups[g].size(); ++t) {
        out[g * num_units(query.prefix, unit_tokens) + t / static_cast<std::size_t>(unit_tokens)] += groups[g][t];
      }
    }
  }
};

/// Mass 1 for the listed tokens, 0 elsewhere.
std::vector<float> marked(std::size_t count, std::initializer_list<std::size_t> which) {
  std::vector<float> masses(count, 0.0f);
  for (const std::size_t token : which) masses[token] = 1.0f;
  return masses;
}

// Sixteen tokens, chunks of 2, blocks of 4: eight chunks, four blocks. A period is two layers.
ImportanceStatisticsOptions small_options(Budget budget, int num_layers) {
  ImportanceStatisticsOptions options;
  options.budgets = {budget};
  options.num_layers = num_layers;
  options.layers_per_period = 2;
  options.chunk_tokens = 2;
  options.block_tokens = 4;
  return options;
}

ImportanceSample sample(std::uint64_t request, std::uint64_t task) {
  return {.request = request, .task = task, .prefix = {{SegmentId{0}, 16}}};
}

double mean(const std::vector<ImportanceStatistics>& statistics, std::string_view name) {
  return statistics.front().mean(name).value();
}

TEST(ImportanceStatistics, ChunkStatisticsByHand) {
  TableSource source;
  // Budget 1/4 chooses 2 of 8 chunks. Leaders 0 and 2 choose {0, 1} and {1, 7}; layer 1 chooses {0, 4}, layer 3 {1, 7}.
  source.tokens[HeadGrouping::all_heads] = {
      {marked(16, {0, 2})}, {marked(16, {0, 8})}, {marked(16, {2, 14})}, {marked(16, {3, 15})}};
  const ImportanceSample samples[] = {sample(0, 0), sample(1, 0)};
  const auto found = compute_importance_statistics(source, samples, small_options(Budget(1, 4), 4));
  EXPECT_DOUBLE_EQ(mean(found, "chunk_blocks_touched"), (1 + 2 + 2 + 2) / 16.0);
  EXPECT_DOUBLE_EQ(mean(found, "chunk_mass_kept"), 1.0);
  EXPECT_DOUBLE_EQ(mean(found, "coverage_between_periods"), 0.5);
  EXPECT_DOUBLE_EQ(mean(found, "coverage_0_to_2"), 0.5);
  EXPECT_DOUBLE_EQ(mean(found, "coverage_within_period"), 0.75);  // layer 1: one of two, layer 3: both
  EXPECT_DOUBLE_EQ(mean(found, "coverage_between_requests"), 1.0);
  // The last tenth begins at token 14.4: chunk 7 (token 14) is not in it.
  EXPECT_DOUBLE_EQ(mean(found, "chunk_last_tenth"), 0.0);
  EXPECT_FALSE(found.front().mean("head_blocks_touched"));
  EXPECT_FALSE(found.front().mean("no such statistic"));
}

TEST(ImportanceStatistics, TiesGoToTheLowerIndex) {
  TableSource source;
  source.tokens[HeadGrouping::all_heads] = {{std::vector<float>(16, 1.0f)}};
  const ImportanceSample samples[] = {sample(0, 0)};
  const auto found = compute_importance_statistics(source, samples, small_options(Budget(1, 2), 1));
  EXPECT_DOUBLE_EQ(mean(found, "chunk_blocks_touched"), 0.5);  // chunks 0 to 3 fill blocks 0 and 1
  EXPECT_DOUBLE_EQ(mean(found, "chunk_mass_kept"), 0.5);
  EXPECT_FALSE(found.front().mean("coverage_between_periods"));
}

TEST(ImportanceStatistics, HeadsTouchTheUnionOfTheirBlocks) {
  TableSource source;
  source.tokens[HeadGrouping::per_kv_head] = {{marked(16, {0, 1}), marked(16, {5, 12})}};
  const ImportanceSample samples[] = {sample(0, 0)};
  const auto found = compute_importance_statistics(source, samples, small_options(Budget(1, 8), 1));
  EXPECT_DOUBLE_EQ(mean(found, "head_union_blocks_touched"), 0.75);
  EXPECT_DOUBLE_EQ(mean(found, "head_blocks_touched"), (0.25 + 0.5) / 2);
}

TEST(ImportanceStatistics, VotesBeatScoresAndTiedVotesGoToTheSummedScore) {
  TableSource source;
  // k = 2. Token 0 has three votes; tokens 4, 8 and 12 one each, of which 8 has the highest score.
  auto a = marked(16, {0}), b = a, c = a;
  a[4] = 2, b[8] = 3, c[12] = 1;
  source.tokens[HeadGrouping::probe_heads] = {{a, b, c}};
  const ImportanceSample samples[] = {sample(0, 0)};
  ImportanceStatisticsOptions options = small_options(Budget(1, 8), 1);
  const auto found = compute_importance_statistics(source, samples, options);
  EXPECT_DOUBLE_EQ(mean(found, "probe_similarity"), 1.0 / 3);  // one of three tokens in common, three pairs
  EXPECT_DOUBLE_EQ(mean(found, "probe_fallback"), 0.0);        // the threshold is (1/15)^0.6 = 0.197
  EXPECT_DOUBLE_EQ(mean(found, "vote_blocks_touched"), 0.5);   // tokens 0 and 8
  EXPECT_DOUBLE_EQ(mean(found, "vote_amplification"), 4.0);    // 8 tokens read for 2
}

TEST(ImportanceStatistics, DissimilarProbedHeadsFallBackAndLoadEverything) {
  TableSource source;
  source.tokens[HeadGrouping::probe_heads] = {{marked(16, {0, 1}), marked(16, {4, 5}), marked(16, {8, 9})}};
  const ImportanceSample samples[] = {sample(0, 0)};
  const auto found = compute_importance_statistics(source, samples, small_options(Budget(1, 8), 1));
  EXPECT_DOUBLE_EQ(mean(found, "probe_fallback"), 1.0);
  EXPECT_DOUBLE_EQ(mean(found, "vote_blocks_loaded"), 1.0);
  EXPECT_FALSE(found.front().mean("vote_blocks_touched"));
}

TEST(ImportanceStatistics, ReportsSetTheTargetBesideTheMean) {
  TableSource source;
  source.tokens[HeadGrouping::all_heads] = {{marked(16, {0, 2})}};
  const ImportanceSample samples[] = {sample(0, 0)};
  const auto found = compute_importance_statistics(source, samples, small_options(Budget(1, 4), 1));
  const std::vector<ImportanceTarget> targets = {{"chunk_blocks_touched", Budget(1, 4), 0.2, 0.3, "by hand"},
                                                 {"chunk_mass_kept", Budget(1, 4), 0.2, 0.3, "by hand"}};
  EXPECT_EQ(meets_target(found, targets[0]), std::optional(true));
  EXPECT_EQ(meets_target(found, targets[1]), std::optional(false));
  EXPECT_EQ(meets_target(found, {"chunk_mass_kept", Budget(1, 2), 0, 1, ""}), std::nullopt);
  EXPECT_EQ(meets_target(found, {"probe_fallback", Budget(1, 4), 0, 1, ""}), std::nullopt);

  const Json json = to_json(found, targets);
  EXPECT_EQ(json[0]["statistic"], "chunk_blocks_touched");
  EXPECT_EQ(json[0]["mean"], 0.25);
  EXPECT_EQ(json[0]["met"], true);
  EXPECT_EQ(json[1]["met"], false);
  EXPECT_TRUE(json.back()["mean"].is_null());
  EXPECT_THAT(to_text(found, targets), testing::HasSubstr("0.2..0.3"));
  EXPECT_THAT(to_text(found, targets), testing::HasSubstr("NO"));
}

TEST(ImportanceStatistics, SamplesPairRequestsOnOnePrefix) {
  const auto samples = make_importance_samples(100, 3);
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].task, samples[1].task);
  EXPECT_NE(samples[1].task, samples[2].task);
  EXPECT_EQ(samples[2].prefix[0].num_tokens, 100u);
  EXPECT_NE(samples[0].prefix[0].segment, samples[2].prefix[0].segment);
}

}  // namespace
}  // namespace reprefill::traces
