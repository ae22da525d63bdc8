#include "traces/workload/trace_format.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/traces/workload/gzip_text.hpp"
#include "tests/traces/workload/trace_builder.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/statistics.hpp"

namespace reprefill::traces {
namespace {

using test_support::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

RequestTrace parse(TraceFormat format, std::string_view text, const AgenticOptions& agentic = {}) {
  return parse_trace(text, "t", {.format = format, .block_tokens = std::nullopt, .agentic = agentic});
}

std::string error_of(TraceFormat format, std::string_view text) {
  try {
    parse(format, text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

// Blocks of 4 tokens. The second request goes on where the first ended, the third starts elsewhere.
std::string conversation(std::string_view requests, int tool_tokens = 5, int system_tokens = 4) {
  return fmt::format(
      R"({{"id": "a", "block_size": 4, "hash_id_scope": "local", "tool_tokens": {}, "system_tokens": {}, "requests": [{}]}})",
      tool_tokens, system_tokens, requests);
}

std::string request(double t, int in, int out, std::string_view ids) {
  return fmt::format(R"({{"t": {}, "type": "n", "in": {}, "out": {}, "hash_ids": {}}})", t, in, out, ids);
}

const std::string kThree =
    request(0, 13, 2, "[1, 2, 3]") + "," + request(1.5, 17, 3, "[1, 2, 3, 4]") + "," + request(2, 9, 1, "[6, 7]");

TEST(AgenticFormat, GivesEachConversationIdsOfItsOwn) {
  const TemporaryFolder folder;
  test_support::write_text(folder / "b.json", conversation(kThree));
  test_support::write_text(folder / "a.json.gz", gzip_text(conversation(request(0, 8, 1, "[1, 2]"))));
  test_support::write_text(folder / "README.md", "no trace");
  const RequestTrace trace =
      read_trace(folder.path(), {.format = TraceFormat::agentic, .block_tokens = {}, .agentic = {}});
  EXPECT_EQ(trace.block_tokens(), 4u);
  EXPECT_EQ(trace.last_block(), LastBlock::has_none);
  ASSERT_EQ(trace.size(), 4u);
  EXPECT_THAT(trace[0].block_ids, ElementsAre(0, 1)) << "a.json.gz starts first";
  EXPECT_THAT(trace[1].block_ids, ElementsAre(2, 3, 4));
  EXPECT_THAT(trace[2].block_ids, ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(trace[3].block_ids, ElementsAre(6, 7));
  EXPECT_EQ(trace[2].arrival - trace[1].arrival, Nanoseconds{1'500'000'000});
  EXPECT_EQ(trace[2].input_tokens, 17u);
  EXPECT_EQ(trace[2].output_tokens, 3u);
}

TEST(AgenticFormat, ConversationsStartAsThePoissonProcessOfTheSeed) {
  const TemporaryFolder folder;
  for (int i = 0; i < 400; ++i)
    test_support::write_text(folder / fmt::format("{:03}.json", i), conversation(request(0, 8, 1, "[1, 2]")));
  const auto last = [&](double rate, std::uint64_t seed) {
    const RequestTrace trace = read_trace(
        folder.path(),
        {.format = TraceFormat::agentic, .block_tokens = {}, .agentic = {.conversations_per_s = rate, .seed = seed}});
    return to_seconds(trace[trace.size() - 1].arrival);
  };
  EXPECT_NEAR(last(0.5, 1), 800, 800 * 4 / 20.0) << "399 gaps of mean 2 s, within four standard deviations";
  EXPECT_EQ(last(0.5, 1), last(0.5, 1));
  EXPECT_NE(last(0.5, 1), last(0.5, 2));
  EXPECT_NEAR(last(5, 1) * 10, last(0.5, 1), 1e-3);
}

TEST(AgenticFormat, ANestedConversationCountsTimeFromItsOwnStartAndSharesIds) {
  const std::string nested =
      R"({"t": 10, "type": "subagent", "agent_id": "x", "tool_tokens": 4, "system_tokens": 0, "requests": [)" +
      request(0, 8, 1, "[1, 9]") + "," + request(2.5, 12, 1, "[1, 9, 10]") + "]}";
  const RequestTrace trace = parse(TraceFormat::agentic, conversation(request(0, 8, 1, "[1, 2]") + "," + nested + "," +
                                                                      request(11, 8, 1, "[1, 2]")));
  ASSERT_EQ(trace.size(), 4u);
  EXPECT_EQ(to_seconds(trace[1].arrival), 10);
  EXPECT_THAT(trace[1].block_ids, ElementsAre(0, 2)) << "block 1 is the parent's";
  EXPECT_EQ(to_seconds(trace[2].arrival), 11) << "sorted by arrival over all levels";
  EXPECT_EQ(to_seconds(trace[3].arrival), 12.5);
  EXPECT_THAT(trace[3].block_ids, ElementsAre(0, 2, 3));
}

TEST(AgenticFormat, SharesOnlyTheBlocksOfToolsAndSystemPromptAndOnlyBetweenEqualCounts) {
  const TemporaryFolder folder;
  test_support::write_text(folder / "a.json", conversation(kThree));  // 9 tokens of tools and system: 2 whole blocks
  test_support::write_text(folder / "b.json", conversation(kThree));  // the same counts
  test_support::write_text(folder / "c.json", conversation(kThree, 4, 5));  // the same sum, other counts
  const auto read = [&](SharePrefix share) {
    return read_trace(folder.path(), {.format = TraceFormat::agentic,
                                      .block_tokens = {},
                                      .agentic = {.conversations_per_s = 1e-3, .share_prefix = share}});
  };
  const RequestTrace apart = read(SharePrefix::none);
  EXPECT_EQ(compute_statistics(apart).num_distinct_blocks, 3u * 6);
  const RequestTrace shared = read(SharePrefix::tool_and_system);
  ASSERT_EQ(shared.size(), 9u);
  EXPECT_THAT(shared[0].block_ids, ElementsAre(0, 1, 2));
  EXPECT_THAT(shared[3].block_ids, ElementsAre(0, 1, 6)) << "two blocks of a.json, the third its own";
  EXPECT_THAT(shared[2].block_ids, ElementsAre(4, 5)) << "another head in the same conversation stays its own";
  EXPECT_THAT(shared[6].block_ids, ElementsAre(10, 11, 12));
  EXPECT_EQ(compute_statistics(shared).num_distinct_blocks, 3u * 6 - 2);
}

TEST(AgenticFormat, RefusesDamageWithItsPlace) {
  const auto refused = [](const std::string& text, std::string_view place, std::string_view found) {
    EXPECT_THAT(error_of(TraceFormat::agentic, text),
                AllOf(StartsWith(std::string(place)), HasSubstr(std::string(found))))
        << text;
  };
  refused("{", "t: ", "not valid JSON");
  refused("[]", "t: ", "found []");
  refused(conversation(""), "t: ", "no requests");
  refused(conversation("3"), "t: requests[0]: ", "found 3");
  refused(conversation(request(0, 8, 1, "[1]")), "t: requests[0].hash_ids: ", "found 1 ids; expected 2");
  refused(conversation(request(0, 0, 1, "[]")), "t: requests[0].in: ", "found 0");
  refused(conversation(request(-1, 8, 1, "[1, 2]")), "t: requests[0].t: ", "found -1");
  refused(conversation(request(1e9, 8, 1, "[1, 2]")), "t: requests[0].t: ", "found 1000000000");
  refused(conversation(request(0, 8, 1, "[1, 2]") + "," + request(1, 8, 1, "[3, 2]")),
          "t: requests[1].hash_ids[1]: ", "two predecessors");
  refused(conversation(request(0, 8, 1, "[1, 1]")), "t: requests[0].hash_ids[1]: ", "two predecessors");
  refused(conversation(R"({"t": 0, "type": "subagent", "tool_tokens": 4, "system_tokens": 0, "requests": [{}]})"),
          "t: requests[0].requests[0].t: ", "missing");
  std::string global = conversation(kThree);
  global.replace(global.find("local"), 5, "world");
  refused(global, "t: hash_id_scope: ", "world");
}

TEST(AgenticFormat, RefusesConversationsOfDifferentBlocksAndAnEmptyFolder) {
  const TemporaryFolder folder;
  const TraceReadOptions options{.format = TraceFormat::agentic, .block_tokens = {}, .agentic = {}};
  EXPECT_THROW(read_trace(folder.path(), options), ConfigError);
  std::string other = conversation(kThree);
  other.replace(other.find("\"block_size\": 4"), 15, "\"block_size\": 5");
  test_support::write_text(folder / "a.json", conversation(kThree));
  test_support::write_text(folder / "b.json", other);
  EXPECT_THROW(read_trace(folder.path(), options), ConfigError);
  EXPECT_THROW(read_trace(folder.path(), {.format = TraceFormat::bailian, .block_tokens = {}, .agentic = {}}),
               ConfigError)
      << "a folder is no bailian trace";
}

TEST(AgenticFormat, TheKeptCutHasTheFiguresOfItsReadme) {
  const auto folder = test_support::find_trace_folder();
  if (!folder) GTEST_SKIP() << test_support::kNoTraceFolder;
  const RequestTrace trace =
      read_trace(*folder / "agentic-coding", {.format = TraceFormat::agentic, .block_tokens = {}, .agentic = {}});
  EXPECT_EQ(trace.size(), 967u + 12u) << "requests, and those of nested conversations";
  const TraceStatistics statistics = compute_statistics(trace);
  EXPECT_EQ(statistics.input_tokens.max, 706'227u);
  EXPECT_NEAR(statistics.leading_blocks_seen_before_fraction(), 0.918, 0.002) << "91.8 % without the nested ones";
}

// Blocks of 16 tokens.
std::string bailian(double seconds, int in, std::string_view ids) {
  return fmt::format(
      R"({{"chat_id": 1, "parent_chat_id": -1, "timestamp": {}, "input_length": {}, "output_length": 7, )"
      R"("type": "text", "turn": 1, "hash_ids": {}}})"
      "\n",
      seconds, in, ids);
}

TEST(BailianFormat, ComparesLeadingRunsBecauseAnIdMayComeBackUnderAnotherPrefix) {
  const RequestTrace trace = parse(TraceFormat::bailian, bailian(0, 48, "[5, 6, 7]") + bailian(1.25, 33, "[5, 6, 8]") +
                                                             bailian(2, 32, "[6, 7]") + bailian(3, 48, "[5, 7, 7]"));
  ASSERT_EQ(trace.size(), 4u);
  EXPECT_EQ(trace.block_tokens(), 16u);
  EXPECT_THAT(trace[0].block_ids, ElementsAre(0, 1, 2));
  EXPECT_THAT(trace[1].block_ids, ElementsAre(0, 1, 3)) << "the partly filled last block has an id";
  EXPECT_THAT(trace[2].block_ids, ElementsAre(4, 5)) << "6 at the start is not 6 behind 5: no hit";
  EXPECT_THAT(trace[3].block_ids, ElementsAre(0, 6, 7)) << "the same id twice in a prompt is two blocks";
  EXPECT_EQ(trace[1].arrival, Nanoseconds{1'250'000'000});
  EXPECT_EQ(trace[1].output_tokens, 7u);
}

TEST(BailianFormat, SortsByArrivalAndKeepsTheOrderOfTies) {
  const RequestTrace trace =
      parse(TraceFormat::bailian, bailian(5, 16, "[1]") + bailian(2, 16, "[2]") + bailian(2, 16, "[3]"));
  EXPECT_THAT(trace[0].block_ids, ElementsAre(1)) << "keys are given in the order of the file";
  EXPECT_THAT(trace[1].block_ids, ElementsAre(2));
  EXPECT_THAT(trace[2].block_ids, ElementsAre(0));
}

TEST(BailianFormat, RefusesDamageWithItsLine) {
  const std::string good = bailian(0, 16, "[1]");
  EXPECT_THAT(error_of(TraceFormat::bailian, good + bailian(0, 17, "[1]")),
              StartsWith("t:2: hash_ids: found 1 ids; expected 2"));
  EXPECT_THAT(error_of(TraceFormat::bailian, bailian(-1, 16, "[1]")), StartsWith("t:1: timestamp: found -1"));
  EXPECT_THAT(error_of(TraceFormat::bailian, bailian(1e10, 16, "[1]")), StartsWith("t:1: timestamp: found 1"));
  EXPECT_THAT(error_of(TraceFormat::bailian, bailian(1, 16, "[-1]")), StartsWith("t:1: hash_ids[0]: found -1"));
  EXPECT_THAT(error_of(TraceFormat::bailian, "{}"), StartsWith("t:1: timestamp: the key is missing"));
  EXPECT_THAT(error_of(TraceFormat::bailian, ""), HasSubstr("no requests"));
}

const std::string kAzureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";

TEST(AzureFormat, ReadsTimesToTheHundredNanosecondsAndSharesNothing) {
  const RequestTrace trace = parse_trace(
      kAzureHeader + "2023-11-30 23:59:59.9999999,600,44\r\n2023-12-01 00:00:00.5,512,0\n2023-12-01 00:00:01+00:00,1,1",
      "t", {.format = TraceFormat::azure, .block_tokens = 512, .agentic = {}});
  ASSERT_EQ(trace.size(), 3u);
  EXPECT_EQ(trace[0].arrival, Nanoseconds{0}) << "time starts with the first request";
  EXPECT_EQ(trace[1].arrival, Nanoseconds{500'000'100});
  EXPECT_EQ(trace[2].arrival, Nanoseconds{1'000'000'100});
  EXPECT_THAT(trace[0].block_ids, ElementsAre(0, 1));
  EXPECT_THAT(trace[1].block_ids, ElementsAre(2));
  EXPECT_EQ(trace[0].output_tokens, 44u);
}

TEST(AzureFormat, RefusesDamageWithItsLine) {
  const auto refused = [](const std::string& rows, std::string_view expected) {
    EXPECT_THAT(error_of(TraceFormat::azure, kAzureHeader + rows), StartsWith(std::string(expected))) << rows;
  };
  refused("2023-11-16 18:15:46.68059001234,1,1", "t:2: TIMESTAMP: found");
  refused("2023-02-29 18:15:46,1,1", "t:2: TIMESTAMP: found");
  refused("2023-11-16 24:15:46,1,1", "t:2: TIMESTAMP: found");
  refused("2023-11-16 18:15:46.,1,1", "t:2: TIMESTAMP: found");
  refused("2023-11-16T18:15:46,1,1", "t:2: TIMESTAMP: found");
  refused("2023-1-16 18:15:46,1,1", "t:2: TIMESTAMP: found");
  refused("2023-11-16 18:15:46,0,1", "t:2: ContextTokens: found 0");
  refused("2023-11-16 18:15:46,1,-1", "t:2: GeneratedTokens: found -1");
  refused("2023-11-16 18:15:46,1, 1", "t:2: GeneratedTokens: found  1");
  refused("2023-11-16 18:15:46,1", "t:2: found");
  refused("2023-11-16 18:15:46,1,1,1", "t:2: found");
  refused("2023-11-16 18:15:46,1,1\n\n2023-11-16 18:15:45,1,1", "t:4: TIMESTAMP: found 2023-11-16 18:15:45 after");
  refused("", "t: found no requests");
  EXPECT_THAT(error_of(TraceFormat::azure, "TIMESTAMP;ContextTokens\n"), StartsWith("t:1: found TIMESTAMP;"));
  EXPECT_THAT(error_of(TraceFormat::azure, ""), StartsWith("t:1: found an empty file"));
}

TEST(AzureFormat, TheKeptCutsHaveTheFiguresOfTheirReadme) {
  const auto folder = test_support::find_trace_folder();
  if (!folder) GTEST_SKIP() << test_support::kNoTraceFolder;
  const RequestTrace trace = read_trace(*folder / "azure-llm-2023" / "AzureLLMInferenceTrace_conv.first12000.csv",
                                        {.format = TraceFormat::azure, .block_tokens = {}, .agentic = {}});
  const TraceStatistics statistics = compute_statistics(trace);
  EXPECT_EQ(statistics.num_requests, 12'000u);
  EXPECT_NEAR(to_seconds(statistics.last_arrival), 2054.3, 0.05);
  EXPECT_EQ(statistics.input_tokens.p50, 1025u);
  EXPECT_EQ(statistics.output_tokens.p95, 452u);
}

std::string lmcache(double seconds, int tokens, std::string_view hashes, std::string_view model = "m",
                    int chunk = 256) {
  return fmt::format(
      R"({{"timestamp": {:.3f}, "request_id": "r", "model_name": "{}", "chunk_size": {}, "seq_len": {}, )"
      R"("dtypes": ["float16"], "shapes": [[32, 256, 128]], "chunk_hashes": {}}})"
      "\n",
      seconds, model, chunk, tokens, hashes);
}

TEST(LmcacheFormat, ReadsFullChunksInOrderOfTime) {
  const RequestTrace trace =
      parse(TraceFormat::lmcache, lmcache(1711929602.5, 700, R"(["0xab", "0xcd"])") +
                                      lmcache(1711929600.0, 512, R"(["0xab", "0xef"])") +
                                      lmcache(1711929601.0, 255, "[]") + lmcache(1711929603.0, 256, R"(["0xcd"])"));
  ASSERT_EQ(trace.size(), 4u);
  EXPECT_EQ(trace.block_tokens(), 256u);
  EXPECT_EQ(trace.last_block(), LastBlock::has_none);
  EXPECT_THAT(trace[0].block_ids, ElementsAre(0, 2));
  EXPECT_THAT(trace[1].block_ids, IsEmpty());
  EXPECT_THAT(trace[2].block_ids, ElementsAre(0, 1));
  EXPECT_THAT(trace[3].block_ids, ElementsAre(3)) << "a hash counts with what is before it";
  EXPECT_EQ(trace[2].arrival, Nanoseconds{2'500'000'000}) << "time starts with the first request";
}

TEST(LmcacheFormat, RefusesTwoModelsTwoChunkSizesAndDamage) {
  const std::string good = lmcache(0, 256, R"(["a"])");
  EXPECT_THAT(error_of(TraceFormat::lmcache, good + lmcache(1, 256, R"(["a"])", "n")),
              StartsWith("t:2: model_name: found \"n\""));
  EXPECT_THAT(error_of(TraceFormat::lmcache, good + lmcache(1, 128, R"(["a"])", "m", 128)),
              StartsWith("t:2: chunk_size: found 128"));
  EXPECT_THAT(error_of(TraceFormat::lmcache, lmcache(1, 512, R"(["a"])")),
              StartsWith("t:1: chunk_hashes: found 1 hashes; expected 2"));
  EXPECT_THAT(error_of(TraceFormat::lmcache, lmcache(1, 256, "[3]")), StartsWith("t:1: chunk_hashes[0]: found 3"));
  EXPECT_THAT(error_of(TraceFormat::lmcache, ""), HasSubstr("no requests"));
}

TEST(TraceFormats, APackedFileIsReadAsThePlainOne) {
  const TemporaryFolder folder;
  const std::string text = bailian(0, 48, "[5, 6, 7]") + bailian(1.25, 33, "[5, 6, 8]");
  test_support::write_text(folder / "t.jsonl", text);
  test_support::write_text(folder / "t.jsonl.gz", gzip_text(text));
  const TraceReadOptions options{.format = TraceFormat::bailian, .block_tokens = {}, .agentic = {}};
  EXPECT_EQ(read_trace(folder / "t.jsonl.gz", options), read_trace(folder / "t.jsonl", options));
  const RequestTrace mooncake = make_trace(512, {{0, 600, 1, {0, 1}}, {3, 5, 1, {2}}});
  test_support::write_text(folder / "m.jsonl.gz", gzip_text(to_mooncake_jsonl(mooncake)));
  EXPECT_EQ(read_trace(folder / "m.jsonl.gz", {}), mooncake);
}

}  // namespace
}  // namespace reprefill::traces
