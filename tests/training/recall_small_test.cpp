// The shipped checkpoint through the project's own tokenizer and engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "study/eval/eval.hpp"
#include "study/eval/task.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::study {
namespace {

const std::filesystem::path kModel = "models/recall-small";  // ctest runs tests in the repository's root

engine::Model open_model() { return engine::Model::open(kModel, "", {.cpu = {.num_threads = 2}}); }

std::vector<TaskItem> read_shipped(const std::string& length) {
  return read_task(kModel / "tasks" / ("recall-" + length + ".jsonl"));
}

/// Items of a kind about the first prefixes of a task file.
std::vector<TaskItem> first_items(const std::string& length, const std::string& kind, std::size_t num_prefixes) {
  std::vector<TaskItem> chosen;
  std::vector<std::string> prefixes;
  for (TaskItem& item : read_shipped(length)) {
    if (prefixes.empty() || prefixes.back() != item.prefix) prefixes.push_back(item.prefix);
    if (prefixes.size() > num_prefixes) break;
    if (item.kind == kind) chosen.push_back(std::move(item));
  }
  return chosen;
}

TEST(RecallSmall, EveryPrefixHasJustTheTokensThatItsFileNames) {
  const engine::Tokenizer tokenizer = engine::Tokenizer::open(kModel / "tokenizer.json");
  for (const auto& [length, num_tokens] : {std::pair{"1k", 1024u}, std::pair{"2k", 2048u}, std::pair{"4k", 4096u}})
    for (const TaskItem& item : read_shipped(length)) ASSERT_EQ(tokenizer.encode(item.prefix).size(), num_tokens);
}

TEST(RecallSmall, AWordOfTheTaskIsOneTokenAndTextComesBack) {
  const engine::Tokenizer tokenizer = engine::Tokenizer::open(kModel / "tokenizer.json");
  const std::string text = " Question: what is the boat of Maria? Answer: the boat of Maria is green.";
  EXPECT_EQ(tokenizer.encode(text).size(), 18u);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  const std::string unknown = "wörld \xE6\x97\xA5 12";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(unknown)), unknown);
}

TEST(RecallSmall, EveryAnswerIsOneTokenAmongItsChoices) {
  const engine::Tokenizer tokenizer = engine::Tokenizer::open(kModel / "tokenizer.json");
  for (const TaskItem& item : read_shipped("1k"))
    for (const std::string& choice : item.choices) EXPECT_EQ(tokenizer.encode(choice).size(), 1u) << choice;
}

TEST(RecallSmall, HasTheShapeThatTwoPeriodsOfEightLayersNeed) {
  const engine::Model model = open_model();
  const ModelGeometry& shape = model.checkpoint->geometry();
  EXPECT_GE(shape.num_layers, 16);
  EXPECT_EQ(shape.num_kv_heads, 2);
  EXPECT_EQ(shape.head_dim, 64);
}

class SingleFacts : public testing::TestWithParam<const char*> {};

TEST_P(SingleFacts, AreFoundWithFullKv) {
  const test_support::TemporaryFolder folder;
  engine::Model model = open_model();
  const std::vector<TaskItem> items = first_items(GetParam(), "single_fact", 3);
  ASSERT_EQ(items.size(), 12u);
  const EvalResult result = evaluate(model, items, {}, {.work_folder = folder / "work", .buffered_reads = true});
  const auto right = std::count_if(result.variants.front().items.begin(), result.variants.front().items.end(),
                                   [](const ItemResult& item) { return item.is_right; });
  // Above 95 % of many (models/recall-small/README.md); of these twelve one may be missed.
  EXPECT_GE(right, 11);
}

INSTANTIATE_TEST_SUITE_P(Lengths, SingleFacts, testing::Values("2k", "4k"));

}  // namespace
}  // namespace reprefill::study
