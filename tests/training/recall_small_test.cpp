// The shipped checkpoint through the project's own tokenizer and engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/pipeline/system.hpp"
#include "engine/session/prefix_builder.hpp"
#include "engine/session/session.hpp"
#include "engine/store/system_layouts.hpp"
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

/// Chunks that contiguous_kv chose at its first leader for a question about 1,024 tokens.
std::vector<std::uint32_t> chosen_by(engine::Model& model, const std::string& scorer) {
  const test_support::TemporaryFolder folder;
  const TaskItem item = read_shipped("1k").front();
  const Json params = {{"scorer", scorer}, {"budget", "1/4"}};
  const Json name = "contiguous_kv";
  const ModelGeometry& geometry = model.checkpoint->geometry();
  const Json resolved =
      pipeline::find_system(JsonValue(name, "test")).resolve(JsonValue(params, "test"), pipeline::PathKind::direct);
  engine::StoreGeometry stored = engine::StoreGeometry::of(geometry);
  engine::StoreWriter writer(
      folder / "store",
      {.model = {.name = "m", .fingerprint = model.checkpoint->fingerprint(), .geometry = stored},
       .layouts = {*engine::layout_of_system("contiguous_kv", resolved, pipeline::PathKind::direct, geometry)}});
  engine::build_prefix(*model.executor, writer, model.tokenizer->encode(item.prefix));
  const engine::Store store = engine::Store::open(folder / "store");
  engine::Session session(model, &store, {.system = "contiguous_kv", .system_params = params, .buffered_reads = true});
  std::vector<std::uint32_t> chosen;
  engine::SessionCallbacks callbacks;
  callbacks.on_attend = [&](const pipeline::Request&, int layer_idx, const pipeline::KvView& view) {
    if (layer_idx == 0) chosen = view.kept->shared();
  };
  const std::vector<engine::Prompt> prompts = {
      {.name = "q", .text = item.prefix + item.suffix, .ids = {}, .max_tokens = 1}};
  session.serve(prompts, callbacks);
  return chosen;
}

/// Frozen: a change of a digest, of its scores or of the model shows here. Instruction sets sum in other orders, so
/// that one of sixteen chunks may change places with its neighbour in rank.
TEST(RecallSmall, EachScorerChoosesTheChunksThatItAlwaysChose) {
  engine::Model model = open_model();
  const std::pair<const char*, std::vector<std::uint32_t>> golden[] = {
      {"keys", {3, 6, 8, 10, 11, 13, 17, 21, 31, 37, 46, 47, 48, 59, 60, 63}},
      {"digest:mean", {0, 1, 6, 8, 9, 10, 11, 12, 13, 14, 15, 17, 21, 44, 50, 60}},
      {"digest:minmax", {7, 13, 17, 21, 22, 24, 26, 27, 28, 31, 32, 37, 45, 46, 52, 63}},
      {"int4_keys", {3, 6, 8, 10, 13, 17, 21, 31, 37, 46, 47, 48, 50, 59, 60, 63}}};
  for (const auto& [scorer, expected] : golden) {
    const std::vector<std::uint32_t> found = chosen_by(model, scorer);
    std::vector<std::uint32_t> both;
    std::ranges::set_intersection(found, expected, std::back_inserter(both));
    ASSERT_EQ(found.size(), 16u) << scorer;
    EXPECT_GE(both.size(), 15u) << scorer << " chose " << testing::PrintToString(found);
  }
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
