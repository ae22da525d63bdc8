#include "traces/workload/trace_convert.hpp"

#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/base/json.hpp"
#include "core/base/random.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/traces/workload/trace_builder.hpp"

namespace reprefill::traces {
namespace {

using ::testing::ElementsAre;

const std::vector<std::string> kWords = {"ab", "cde", "fg", "hij"};

RequestTrace full_blocks_only(const std::vector<RequestLine>& lines) {
  RequestTrace trace(4, LastBlock::has_none);
  for (const RequestLine& line : lines) {
    trace.append({.arrival = Nanoseconds{line.timestamp_ms * 1'000'000},
                  .input_tokens = line.input_tokens,
                  .output_tokens = line.output_tokens,
                  .block_ids = line.ids});
  }
  return trace;
}

std::vector<std::string> split(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

TEST(WithBlocksOf, ALargerBlockTakesTheIdOfTheLastBlockInIt) {
  const RequestTrace trace = with_blocks_of(make_trace(4, {{0, 18, 1, {3, 4, 5, 6, 7}}, {1, 16, 1, {3, 4, 5, 6}}}), 8);
  EXPECT_EQ(trace.block_tokens(), 8u);
  EXPECT_THAT(trace[0].block_ids, ElementsAre(4, 6, 7)) << "the partly filled last block keeps the id that it has";
  EXPECT_THAT(trace[1].block_ids, ElementsAre(4, 6));
}

TEST(WithBlocksOf, APartlyFilledBlockWithoutAnIdGetsOneOfItsOwn) {
  const RequestTrace trace = with_blocks_of(
      full_blocks_only({{0, 13, 1, {3, 4, 9}}, {1, 13, 1, {3, 4, 9}}, {2, 3, 1, {}}, {3, 8, 1, {3, 4}}}), 8);
  EXPECT_EQ(trace.last_block(), LastBlock::has_id);
  EXPECT_THAT(trace[0].block_ids, ElementsAre(4, 10));
  EXPECT_THAT(trace[1].block_ids, ElementsAre(4, 11)) << "nothing says that the two tails are equal";
  EXPECT_THAT(trace[2].block_ids, ElementsAre(12));
  EXPECT_THAT(trace[3].block_ids, ElementsAre(4));
}

TEST(WithBlocksOf, TheSameBlocksGiveTheSameTrace) {
  const RequestTrace trace = make_trace(4, {{0, 18, 1, {3, 4, 5, 6, 7}}, {1, 2, 1, {3}}});
  EXPECT_EQ(with_blocks_of(trace, 4), trace);
}

TEST(WithBlocksOf, RefusesBlocksThatAreNoMultipleAndIdsWithoutRoom) {
  const RequestTrace trace = make_trace(4, {{0, 4, 1, {3}}});
  for (const std::uint32_t blocks : {0u, 2u, 6u}) EXPECT_THROW(with_blocks_of(trace, blocks), ConfigError) << blocks;
  EXPECT_THROW(with_blocks_of(full_blocks_only({{0, 5, 1, {~0ull}}}), 8), ConfigError);
}

TEST(WithBlocksOf, CommonRunsAreThoseOfWholeLargerBlocks) {
  RandomStream random(3, 0, "trace_convert_test");
  for (int round = 0; round < 200; ++round) {
    // Two prompts in blocks of 4 that part after `common` of them; larger blocks hold 3.
    const auto common = random.below(10);
    const auto blocks = [&](std::uint64_t own, std::uint64_t count) {
      std::vector<std::uint64_t> ids;
      for (std::uint64_t i = 0; i < count; ++i) ids.push_back(i < common ? i : own + i);
      return ids;
    };
    const std::uint64_t lengths[2] = {common + 1 + random.below(8), common + 1 + random.below(8)};
    const RequestTrace trace = with_blocks_of(
        full_blocks_only({{0, static_cast<std::uint32_t>(4 * lengths[0] + 1), 1, blocks(100, lengths[0])},
                          {1, static_cast<std::uint32_t>(4 * lengths[1] + 1), 1, blocks(200, lengths[1])}}),
        12);
    std::size_t run = 0;
    while (run < trace[0].block_ids.size() && run < trace[1].block_ids.size() &&
           trace[0].block_ids[run] == trace[1].block_ids[run]) {
      ++run;
    }
    EXPECT_EQ(run, common / 3);
  }
}

TEST(InWholeMilliseconds, RoundsDown) {
  RequestTrace trace(4);
  const std::uint64_t ids[] = {1};
  trace.append({.arrival = Nanoseconds{999'999}, .input_tokens = 1, .output_tokens = 1, .block_ids = ids});
  trace.append({.arrival = Nanoseconds{1'000'000}, .input_tokens = 1, .output_tokens = 1, .block_ids = ids});
  const RequestTrace rounded = in_whole_milliseconds(trace);
  EXPECT_EQ(rounded[0].arrival, Nanoseconds{0});
  EXPECT_EQ(rounded[1].arrival, Nanoseconds{1'000'000});
}

TEST(PromptText, HasAsManyWordsAsTokensAndSharesThoseOfCommonBlocks) {
  const RequestTrace trace = full_blocks_only(
      {{0, 130, 1, std::vector<std::uint64_t>(32, 7)}, {1, 130, 1, std::vector<std::uint64_t>(32, 7)}});
  const std::vector<std::string> first = split(prompt_text(trace, 0, kWords));
  const std::vector<std::string> second = split(prompt_text(trace, 1, kWords));
  ASSERT_EQ(first.size(), 130u);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 128, second.begin()));
  const RequestTrace other = make_trace(64, {{0, 64, 1, {1}}, {1, 64, 1, {2}}, {2, 128, 1, {1, 2}}});
  EXPECT_NE(prompt_text(other, 0, kWords), prompt_text(other, 1, kWords));
  EXPECT_EQ(prompt_text(other, 2, kWords), prompt_text(other, 0, kWords) + prompt_text(other, 1, kWords));
}

TEST(PromptText, ALastBlockWithoutAnIdIsTheRequestsOwn) {
  const RequestTrace trace = full_blocks_only({{0, 3, 1, {}}, {1, 3, 1, {}}, {2, 3, 1, {}}, {3, 3, 1, {}}});
  std::set<std::string> texts;
  for (std::size_t i = 0; i < trace.size(); ++i) texts.insert(prompt_text(trace, i, kWords));
  EXPECT_GT(texts.size(), 1u);
}

TEST(VllmDataset, IsOneJsonObjectALineWithPromptAndOutput) {
  const test_support::TemporaryFolder folder;
  const RequestTrace trace = make_trace(4, {{0, 6, 3, {1, 2}}, {5, 1, 0, {3}}});
  std::size_t last_progress = 0;
  write_vllm_dataset(trace, kWords, folder / "v.jsonl", [&](std::size_t done) { last_progress = done; });
  EXPECT_EQ(last_progress, 2u);
  std::ifstream file(folder / "v.jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["prompt"], prompt_text(trace, 0, kWords));
  EXPECT_EQ(lines[0]["output_tokens"], 3);
  EXPECT_EQ(lines[1]["output_tokens"], 1) << "the least that a server takes";
}

}  // namespace
}  // namespace reprefill::traces
