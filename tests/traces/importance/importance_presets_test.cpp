#include "traces/importance/importance_presets.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "traces/importance/importance_statistics.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::traces {
namespace {

constexpr std::uint32_t kPrefixTokens[] = {3776, 4352, 4928, 5952};  // the four few-shot sets, stored [ref 3.1]

// Two requests share a prefix: the mean coverage over 32 prefixes still moves by about 0.01 with the seed.
void expect_targets_met(const std::string& name, std::uint64_t seed, int num_requests) {
  const ImportancePreset& preset = importance_preset(name, "test");
  const SyntheticImportance source(preset.params, {}, seed);
  ImportanceStatisticsOptions options;
  options.budgets.clear();
  options.with_tokens = name != "qwen7b-fewshot";  // whose targets are about chunks
  for (const ImportanceTarget& target : preset.targets) {
    const bool is_known =
        std::find(options.budgets.begin(), options.budgets.end(), target.budget) != options.budgets.end();
    if (!is_known) options.budgets.push_back(target.budget);
  }
  for (const std::uint32_t tokens : kPrefixTokens) {
    const auto statistics =
        compute_importance_statistics(source, make_importance_samples(tokens, num_requests), options);
    for (const ImportanceTarget& target : preset.targets) {
      EXPECT_EQ(meets_target(statistics, target), std::optional(true))
          << name << ", " << tokens << " tokens, " << target.statistic << " at " << target.budget.to_string() << "\n"
          << to_text(statistics, preset.targets);
    }
  }
}

TEST(ImportancePresets, ImpressOptMeetsItsTargetsAtEveryPrefixLength) { expect_targets_met("impress-opt", 20, 16); }
TEST(ImportancePresets, ImpressOptPersistentMeetsItsTargetsAtEveryPrefixLength) {
  expect_targets_met("impress-opt-persistent", 20, 16);
}
TEST(ImportancePresets, Paper5pctMeetsItsTargetsAtEveryPrefixLength) { expect_targets_met("paper-5pct", 21, 64); }
TEST(ImportancePresets, Qwen7bFewshotMeetsItsTargetsAtEveryPrefixLength) {
  expect_targets_met("qwen7b-fewshot", 22, 64);
}

TEST(ImportancePresets, Paper5pctScattersMoreWithEightKvHeads) {
  // 14B and 32B: the union over heads grows, all else stays.
  const ImportancePreset& preset = importance_preset("paper-5pct", "test");
  const SyntheticImportance source(preset.params, {.num_kv_heads = 8}, 23);
  ImportanceStatisticsOptions options;
  options.budgets = {Budget(1, 20)};
  const auto statistics = compute_importance_statistics(source, make_importance_samples(4928, 8), options);
  EXPECT_GT(*statistics[0].mean("head_union_blocks_touched"), 0.98);
  EXPECT_NEAR(*statistics[0].mean("head_blocks_touched"), 0.60, 0.05);
  EXPECT_NEAR(*statistics[0].mean("vote_blocks_touched"), 0.60, 0.03);
}

TEST(ImportancePresets, ProbedHeadsOfOptRarelyFallBackThoughEachHasItsOwnKvHead) {
  const ImportancePreset& preset = importance_preset("impress-opt", "test");
  const SyntheticImportance source(preset.params, {.num_kv_heads = 32, .probe_kv_heads = {0, 1, 2}}, 24);
  ImportanceStatisticsOptions options;
  options.budgets = {Budget(1, 4)};
  options.num_layers = 64;  // how alike heads are differs from layer to layer
  const auto statistics = compute_importance_statistics(source, make_importance_samples(3776, 2), options);
  EXPECT_LT(*statistics[0].mean("probe_fallback"), 0.5);
}

TEST(ImportancePresets, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    importance_preset("paper-5pt", "scenario.json: importance.preset");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("scenario.json: importance.preset"));
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean paper-5pct?"));
    EXPECT_THAT(error.what(), testing::HasSubstr("qwen7b-fewshot"));
  }
}

}  // namespace
}  // namespace reprefill::traces
