// A whole evaluation on a random checkpoint: what must hold whatever the weights are.
#include "study/eval/eval.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "study/eval/eval_report.hpp"
#include "study/eval/kept_tokens.hpp"
#include "tests/engine/tokenizer/tiny_tokenizer.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::study {
namespace {

std::string some_text(std::size_t bytes, std::uint64_t seed) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>('a' + combine64(seed, i) % 26);
  return text;
}

class Evaluation : public testing::Test {
 protected:
  Evaluation() {
    test_support::write_checkpoint(folder_ / "model", {.num_layers = 10, .vocab = 320, .weight_scale = 1.5});
    std::ofstream(folder_ / "model" / "tokenizer.json") << engine::test_support::tiny_tokenizer({{"q", "z"}}).dump();
    model_ = engine::Model::open(folder_ / "model", "", {.cpu = {.num_threads = 2}});
    for (int i = 0; i < 6; ++i) {
      const std::string number = std::to_string(i);
      task_.push_back({.name = number,
                       .kind = i % 2 == 0 ? "even" : "odd",
                       .prefix = some_text(320, static_cast<std::uint64_t>(i / 3)),
                       .suffix = some_text(20, static_cast<std::uint64_t>(i + 100)),
                       .choices = {"b", "cd", "ce"},
                       .answer = static_cast<std::size_t>(i % 3),
                       .answer_spans = {{100, 110}}});
    }
  }
  EvalResult run(std::vector<EvalVariant> variants, Scoring scoring = Scoring::log_likelihood) {
    return evaluate(
        model_, task_, variants,
        {.scoring = scoring, .work_folder = folder_ / ("work" + std::to_string(++num_runs_)), .buffered_reads = true});
  }

  test_support::TemporaryFolder folder_;
  engine::Model model_;
  std::vector<TaskItem> task_;
  int num_runs_ = 0;
};

TEST_F(Evaluation, EverySystemThatKeepsEverythingAnswersAsFullKv) {
  const EvalResult result = run({{.label = "ckv", .system = "contiguous_kv", .params = {{"budget", 1}}},
                                 {.label = "h2o", .system = "as_h2o", .params = {{"budget", 1}}},
                                 {.label = "impress", .system = "impress", .params = {{"budget", 1}}},
                                 {.label = "recompute", .system = "recompute"}});
  for (const VariantResult& variant : result.variants) {
    for (std::size_t i = 0; i < task_.size(); ++i) {
      const ItemResult& item = variant.items[i];
      EXPECT_NEAR(item.kl_from_full, 0, 1e-9) << variant.variant.label;
      EXPECT_TRUE(item.next_token_agrees) << variant.variant.label;
      EXPECT_EQ(item.is_right, result.variants.front().items[i].is_right) << variant.variant.label;
      EXPECT_NEAR(item.answer_log_likelihood, result.variants.front().items[i].answer_log_likelihood, 1e-4);
      EXPECT_DOUBLE_EQ(item.attention_mass_kept, 1) << variant.variant.label;
      for (const double recall : item.answer_recall) EXPECT_EQ(recall, 1);
    }
  }
}

TEST_F(Evaluation, ASmallBudgetKeepsLessAndMovesTheAnswer) {
  const EvalResult result = run({{.label = "ckv", .system = "contiguous_kv", .params = {{"budget", 0.1}}}});
  double kl = 0;
  for (const ItemResult& item : result.variants[1].items) {
    EXPECT_GT(item.attention_mass_kept, 0);
    EXPECT_LT(item.attention_mass_kept, 1);
    EXPECT_LE(item.attention_mass_worst, item.attention_mass_kept);
    ASSERT_EQ(item.answer_recall.size(), 10u);
    // One selection a period: layers 0 to 7 keep the same tokens.
    for (int layer = 1; layer < 8; ++layer)
      EXPECT_EQ(item.answer_recall[static_cast<std::size_t>(layer)], item.answer_recall[0]);
    kl += item.kl_from_full;
  }
  EXPECT_GT(kl, 1e-6);
}

TEST_F(Evaluation, ScoringByGenerationIsRightOnlyWhereGreedyWritesTheAnswer) {
  const EvalResult by_likelihood = run({}, Scoring::first_token);
  const EvalResult generated = run({}, Scoring::generate);
  std::size_t right = 0;
  for (const ItemResult& item : generated.variants.front().items) right += item.is_right;
  EXPECT_LE(right, task_.size());
  for (std::size_t i = 0; i < task_.size(); ++i) {
    // What greedy decoding writes has the highest likelihood of any choice.
    const bool is_written = generated.variants.front().items[i].is_right;
    EXPECT_TRUE(!is_written || by_likelihood.variants.front().items[i].is_right);
  }
}

TEST_F(Evaluation, TheReportCountsByKindAndPairsWithFullKv) {
  EvalResult result = run({{.label = "ckv", .system = "contiguous_kv", .params = {{"budget", 0.25}}}});
  for (std::size_t i = 0; i < task_.size(); ++i) {
    result.variants[0].items[i].is_right = true;
    result.variants[1].items[i].is_right = i == 0;
  }
  const Json report = report_evaluation(result, task_, 1);
  const Json& kinds = report.at("variants").at(1).at("by_kind");
  ASSERT_EQ(kinds.size(), 3u);
  EXPECT_EQ(kinds[0].at("items"), 6);
  EXPECT_EQ(kinds[0].at("right_only_with_full_kv"), 5);
  EXPECT_NEAR(kinds[0].at("mcnemar_p").get<double>(), 2.0 / 32, 1e-12);
  EXPECT_EQ(kinds[1].at("kind"), "even");
  EXPECT_NEAR(kinds[1].at("accuracy").get<double>(), 1.0 / 3, 1e-12);
  EXPECT_EQ(kinds[2].at("accuracy"), 0);
  EXPECT_EQ(report.at("variants").at(1).at("answer_recall").at("by_distance_from_leader").size(), 8u);
  EXPECT_FALSE(evaluation_table(report).to_text().empty());
}

TEST_F(Evaluation, AnswerTokensAreThoseThatOverlapTheSpan) {
  TaskItem item;
  item.prefix = "abqzd";
  item.answer_spans = {{3, 4}};
  // "qz" is one token: bytes 2 and 3.
  EXPECT_EQ(answer_tokens(*model_.tokenizer, item), std::vector<std::uint32_t>{2});
}

}  // namespace
}  // namespace reprefill::study
