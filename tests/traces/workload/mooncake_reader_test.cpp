#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/traces/workload/trace_builder.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kGoodLine =
    R"({"timestamp": 27482, "input_length": 600, "output_length": 52, "hash_ids": [0, 17]})"
    "\n";

std::string line(std::string_view timestamp, std::string_view input, std::string_view output, std::string_view ids) {
  return fmt::format("{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": {}}}\n",
                     timestamp, input, output, ids);
}

std::string error_of(const std::string& text, const MooncakeOptions& options = {}) {
  try {
    parse_mooncake_jsonl(text, "t.jsonl", options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// What is found and expected in "t.jsonl:1: ...", for one bad value of one key.
#define EXPECT_REFUSED(text, place, found, expected) \
  EXPECT_THAT(error_of(text),                        \
              AllOf(StartsWith("t.jsonl:" place), HasSubstr("found " found), HasSubstr("expected " expected)))

TEST(MooncakeReader, ReadsTimesLengthsAndIdsOfARequest) {
  const RequestTrace trace = parse_mooncake_jsonl(kGoodLine, "t.jsonl");
  ASSERT_EQ(trace.size(), 1u);
  EXPECT_EQ(trace.block_tokens(), 512u);
  EXPECT_EQ(trace[0].arrival, Nanoseconds{27'482'000'000});
  EXPECT_EQ(trace[0].input_tokens, 600u);
  EXPECT_EQ(trace[0].output_tokens, 52u);
  EXPECT_THAT(trace[0].block_ids, ElementsAre(0, 17));
}

TEST(MooncakeReader, TakesKeysInAnyOrderAndEscapedSpelling) {
  EXPECT_EQ(parse_mooncake_jsonl(R"({"hash_ids":[0,17],"output_length":52,"input_l\u0065ngth":600,"timestamp":27482})",
                                 "t.jsonl"),
            parse_mooncake_jsonl(kGoodLine, "t.jsonl"));
}

TEST(MooncakeReader, ToleratesCrlfBlankLinesByteOrderMarkAndNoLastLineEnd) {
  const RequestTrace plain = parse_mooncake_jsonl(line("0", "1", "0", "[5]") + line("3", "512", "1", "[6]"), "t.jsonl");
  const std::string untidy =
      "\xEF\xBB\xBF\r\n  \n" + std::string(R"({"timestamp":0,"input_length":1,"output_length":0,"hash_ids":[5]})") +
      "\r\n\n\t\r\n" + R"( {"timestamp":3.0,"input_length":512,"output_length":1,"hash_ids":[6]} )";
  EXPECT_EQ(parse_mooncake_jsonl(untidy, "t.jsonl"), plain);
}

TEST(MooncakeReader, AByteOrderMarkInTheMiddleIsNotTolerated) {
  EXPECT_REFUSED(kGoodLine + std::string("\xEF\xBB\xBF") + kGoodLine, "2: ", "text that is not valid JSON",
                 "one JSON object");
}

TEST(MooncakeReader, IgnoresKeysThatOtherToolsAdd) {
  EXPECT_EQ(
      parse_mooncake_jsonl(R"({"timestamp": 27482, "session": {"timestamp": [1, {"a": null}]}, "input_length": 600,)"
                           R"( "output_length": 52, "type": "text", "hash_ids": [0, 17], "x": 1e300})",
                           "t.jsonl"),
      parse_mooncake_jsonl(kGoodLine, "t.jsonl"));
}

TEST(MooncakeReader, ChecksTheJsonOfIgnoredKeys) {
  EXPECT_REFUSED(R"({"timestamp": 0, "x": [1,,2], "input_length": 1, "output_length": 0, "hash_ids": [5]})",
                 "1: ", "text that is not valid JSON", "one JSON object");
}

TEST(MooncakeReader, RefusesAKeyThatIsThereTwice) {
  EXPECT_THAT(error_of(R"({"timestamp": 0, "timestamp": 0, "input_length": 1, "output_length": 0, "hash_ids": [5]})"),
              StartsWith("t.jsonl:1: timestamp: found the key twice"));
  EXPECT_THAT(
      error_of(R"({"t": 0, "u": 1, "t": 2, "timestamp": 0, "input_length": 1, "output_length": 0, "hash_ids": [5]})"),
      StartsWith("t.jsonl:1: t: found the key twice"));
}

TEST(MooncakeReader, NamesTheMissingKeyAndItsLine) {
  const std::string good = kGoodLine;
  EXPECT_THAT(error_of(good + R"({"timestamp": 27482, "input_length": 600, "hash_ids": [0, 17]})"),
              StartsWith("t.jsonl:2: output_length: the key is missing"));
  EXPECT_THAT(error_of("{}"), StartsWith("t.jsonl:1: timestamp: the key is missing"));
}

TEST(MooncakeReader, RefusesTextThatIsNotJsonWithItsLine) {
  const std::string good = kGoodLine;
  for (const std::string bad :
       {"garbage", "{", "{\"timestamp\": 1", "{}{}", "}", "\"", "{\"a\":}", "[1,2", "\xff\xfe{", "{'a':1}", "nul",
        "{\"timestamp\": 01}", "{\"timestamp\": .5}", "{\"timestamp\": NaN}"}) {
    EXPECT_REFUSED(good + bad + "\n" + good, "2: ", "text that is not valid JSON: ", "one JSON object a line") << bad;
  }
  EXPECT_REFUSED(std::string("\0\0\0", 3), "1: ", "text that is not valid JSON", "one JSON object a line");
}

TEST(MooncakeReader, SaysThatALastLineMayHaveBeenCutOff) {
  const std::string good = kGoodLine;
  EXPECT_THAT(error_of(good + good.substr(0, 40)), AllOf(StartsWith("t.jsonl:2: "), HasSubstr("cut off?")));
  EXPECT_THAT(error_of(good + good.substr(0, 40) + "\n"), ::testing::Not(HasSubstr("cut off?")));
}

TEST(MooncakeReader, EveryTruncationOfALineIsRefused) {
  const std::string good(kGoodLine, std::char_traits<char>::length(kGoodLine) - 1);
  for (std::size_t length = 1; length < good.size(); ++length) {
    EXPECT_THAT(error_of(good.substr(0, length)), StartsWith("t.jsonl:1: ")) << length;
  }
}

TEST(MooncakeReader, RefusesJsonThatIsNoObject) {
  EXPECT_REFUSED("[1, 2]", "1: ", "[1,2]", "one JSON object a line");
  EXPECT_REFUSED("7", "1: ", "7", "one JSON object a line");
  EXPECT_REFUSED("\"text\"", "1: ", "\"text\"", "one JSON object a line");
}

TEST(MooncakeReader, RefusesNumbersOfTheWrongTypeOrOutOfRange) {
  for (const std::string bad :
       {"-1", "1.5", "\"1\"", "null", "true", "[1]", "{\"a\":1}", "4000000000001", "1e300", "18446744073709551615"}) {
    EXPECT_REFUSED(line(bad, "1", "0", "[5]"), "1: timestamp: ", "",
                   "a whole number of milliseconds from 0 to 4000000000000");
  }
  for (const std::string bad : {"0", "-1", "16777217", "4294967297", "2.5", "\"600\"", "null"}) {
    EXPECT_REFUSED(line("0", bad, "0", "[5]"), "1: input_length: ", "", "a whole number of tokens from 1 to 16777216");
  }
  for (const std::string bad : {"-1", "16777217", "0.5", "[]"}) {
    EXPECT_REFUSED(line("0", "1", bad, "[5]"), "1: output_length: ", "", "a whole number of tokens from 0 to 16777216");
  }
  for (const std::string bad : {"-1", "1.0", "\"a\"", "null", "[5]"}) {
    EXPECT_REFUSED(line("0", "513", "1", fmt::format("[7, {}]", bad)), "1: hash_ids[1]: ", "",
                   "a whole number from 0 to 18446744073709551615");
  }
  EXPECT_REFUSED(line("0", "1", "1", "5"), "1: hash_ids: ", "5", "a list of block ids");
  EXPECT_REFUSED(line("0", "1", "1", "[18446744073709551616]"), "1: ", "text that is not valid JSON",
                 "one JSON object");
}

TEST(MooncakeReader, ShowsWhatItFound) {
  EXPECT_THAT(error_of(line("0", "\"six hundred\"", "0", "[5]")), HasSubstr("found \"six hundred\";"));
  const std::string long_text = fmt::format("\"{:x<59}\xC3\xA4{:y<1000}\"", "", "");
  EXPECT_THAT(error_of(line("0", long_text, "0", "[5]")), HasSubstr("x...;"))
      << "cut in front of the two-byte character";
}

TEST(MooncakeReader, AcceptsTheLimitsThemselves) {
  const RequestTrace trace = parse_mooncake_jsonl(
      line("0", "1", "16777216", "[18446744073709551615]") + line("4000000000000", "1", "0", "[18446744073709551615]"),
      "t");
  EXPECT_EQ(trace[1].arrival, Nanoseconds{4'000'000'000'000'000'000});
  EXPECT_EQ(trace[0].output_tokens, kMaxRequestTokens);
  EXPECT_EQ(parse_mooncake_jsonl(line("0", "16777216", "0", "[1]"), "t", {.block_tokens = kMaxRequestTokens}).size(),
            1u);
}

TEST(MooncakeReader, WantsAnIdForEveryBlockThePartlyFilledLastOneIncluded) {
  EXPECT_EQ(parse_mooncake_jsonl(line("0", "512", "1", "[1]"), "t").size(), 1u);
  EXPECT_EQ(parse_mooncake_jsonl(line("0", "513", "1", "[1, 2]"), "t").size(), 1u);
  EXPECT_REFUSED(line("0", "513", "1", "[1]"), "1: hash_ids: ", "1 ids",
                 "2, one for each block of 512 tokens of the 513");
  EXPECT_REFUSED(line("0", "512", "1", "[1, 2]"), "1: hash_ids: ", "2 ids", "1, ");
  EXPECT_REFUSED(line("0", "1", "1", "[]"), "1: hash_ids: ", "0 ids", "1, ");
}

TEST(MooncakeReader, ReadsOtherBlockSizesWhenTold) {
  EXPECT_EQ(parse_mooncake_jsonl(line("0", "17", "1", "[1, 2]"), "t", {.block_tokens = 16}).block_tokens(), 16u);
  EXPECT_THAT(error_of(kGoodLine, {.block_tokens = 0}), StartsWith("t.jsonl: found block_tokens 0; expected"));
}

TEST(MooncakeReader, RefusesTimeThatGoesBackAndNamesTheOtherLine) {
  EXPECT_REFUSED(line("5", "1", "1", "[1]") + "\n" + line("4", "1", "1", "[2]"),
                 "3: timestamp: ", "4 after 5 in line 1", "requests in order of arrival");
}

TEST(MooncakeReader, RefusesAnIdWithTwoPredecessorsAndNamesBothLines) {
  EXPECT_REFUSED(line("0", "1024", "1", "[1, 2]") + line("1", "1024", "1", "[3, 2]"),
                 "2: hash_ids[1]: ", "block 2 after block 3, but in line 1 after block 1",
                 "an id to have always the same predecessor");
  EXPECT_REFUSED(fmt::format("\n{}", line("0", "1024", "1", "[1, 2]")) + line("1", "512", "1", "[2]"),
                 "3: hash_ids[0]: ", "block 2 at the start of a prompt, but in line 2 after block 1", "an id");
  EXPECT_REFUSED(line("0", "512", "1", "[0]") + line("1", "1024", "1", "[1, 0]"),
                 "2: hash_ids[1]: ", "block 0 after block 1, but in line 1 at the start of a prompt", "an id");
  EXPECT_REFUSED(line("0", "1024", "1", "[4, 4]"), "1: hash_ids[1]: ", "block 4 after block 4", "an id");
  EXPECT_REFUSED(line("0", "1024", "1", "[0, 0]"), "1: hash_ids[1]: ", "block 0 after block 0", "an id");
}

TEST(MooncakeReader, RefusesTwoPredecessorsOfHashesToo) {
  const std::string big = "18446744073709551615";
  EXPECT_REFUSED(
      line("0", "1024", "1", fmt::format("[1, {}]", big)) + line("1", "1024", "1", fmt::format("[3, {}]", big)),
      "2: hash_ids[1]: ",
      "block "
      "18446744073709551615 after block 3, but in line 1 after block 1",
      "an id");
}

TEST(MooncakeReader, RefusesAFileWithoutRequests) {
  for (const std::string empty : {"", "\n\r\n  \n", "\xEF\xBB\xBF"}) {
    EXPECT_THAT(error_of(empty), StartsWith("t.jsonl: found no requests; expected"));
  }
}

TEST(MooncakeReader, VeryDeepJsonIsRefusedAndDoesNotCrash) {
  for (const std::size_t depth : {1000u, 1'000'000u}) {
    const std::string open = fmt::format("{{\"timestamp\": 0, \"x\": {:[<{}}", "", depth);
    EXPECT_THAT(error_of(open + std::string(depth, ']') + "}"), StartsWith("t.jsonl:1: "));
    EXPECT_THAT(error_of(open), StartsWith("t.jsonl:1: "));
  }
  EXPECT_THAT(error_of(std::string(2'000'000, '{')), StartsWith("t.jsonl:1: "));
  EXPECT_THAT(error_of(line("0", "1", "1", std::string(900, '[') + std::string(900, ']'))),
              StartsWith("t.jsonl:1: hash_ids[0]: found [["));
}

TEST(MooncakeReader, ReadsLinesOfVeryDifferentLength) {
  std::string text;
  for (const std::uint32_t num_blocks : {1u, 5000u, 2u, 20'000u}) {
    std::string ids = "[0";
    for (std::uint32_t id = 1; id < num_blocks; ++id) ids += fmt::format(", {}", id);
    text += line("0", std::to_string(num_blocks * 512), "1", ids + "]");
  }
  const RequestTrace trace = parse_mooncake_jsonl(text, "t");
  ASSERT_EQ(trace.size(), 4u);
  EXPECT_EQ(trace[3].block_ids[19'999], 19'999u);
  EXPECT_EQ(trace.num_block_references(), 25'003u);
}

TEST(MooncakeReader, ExplainsPathsThatCannotBeRead) {
  const auto error_for = [](const std::filesystem::path& path) -> std::string {
    try {
      read_mooncake_jsonl(path);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  const std::filesystem::path folder = ::testing::TempDir();
  EXPECT_THAT(error_for(folder / "no_such.jsonl"), AllOf(HasSubstr("no_such.jsonl: No such file or directory"),
                                                         HasSubstr("expected the name of a readable file")));
  EXPECT_THAT(error_for(folder), HasSubstr("is a directory; expected"));
  const std::filesystem::path empty = folder / "reprefill_empty.jsonl";
  std::ofstream(empty).close();
  EXPECT_THAT(error_for(empty), HasSubstr("reprefill_empty.jsonl: found no requests"));
  std::filesystem::remove(empty);
}

TEST(MooncakeReader, ReadsTheSameFromAFileAsFromMemory) {
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / "reprefill_read.jsonl";
  // Larger than the first buffer, and ending exactly at the last bracket.
  std::string text;
  for (int i = 0; i < 5000; ++i) text += line(std::to_string(i), "600", "52", fmt::format("[0, {}]", i + 1));
  text.pop_back();
  std::ofstream(path) << text;
  EXPECT_EQ(read_mooncake_jsonl(path), parse_mooncake_jsonl(text, "t"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace reprefill::traces
