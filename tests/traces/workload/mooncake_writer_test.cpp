#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/traces/workload/trace_builder.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// A folder of its own for each test, removed with what is in it.
class MooncakeWriter : public ::testing::Test {
 protected:
  MooncakeWriter()
      : folder_(fs::path(::testing::TempDir()) /
                ("reprefill_writer_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~MooncakeWriter() override { fs::remove_all(folder_); }

  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::size_t num_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator{}));
  }

  fs::path folder_;
};

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// Conversations that extend or leave each other's prompts, with small and with huge ids.
RequestTrace random_trace(std::uint64_t seed) {
  RandomStream random(seed, 0, "mooncake_writer_test");
  const std::uint32_t block_tokens = kMooncakeBlockTokens;
  RequestTrace trace(block_tokens);
  std::vector<std::vector<std::uint64_t>> prompts = {{}};
  std::uint64_t next_id = 0;
  std::int64_t arrival_ms = 0;
  const std::uint64_t num_requests = 1 + random.below(60);
  while (trace.size() < num_requests) {
    std::vector<std::uint64_t> ids = prompts[random.below(prompts.size())];
    ids.resize(random.below(ids.size() + 1));
    for (std::uint64_t left = random.below(5) + (ids.empty() ? 1 : 0); left > 0; --left, ++next_id) {
      ids.push_back(next_id % 3 == 0 ? mix64(next_id) : next_id);
    }
    arrival_ms += static_cast<std::int64_t>(random.below(3));
    const auto num_blocks = static_cast<std::uint32_t>(ids.size());
    trace.append({.arrival = Nanoseconds{arrival_ms * 1'000'000},
                  .input_tokens = num_blocks * block_tokens - static_cast<std::uint32_t>(random.below(block_tokens)),
                  .output_tokens = static_cast<std::uint32_t>(random.below(3)),
                  .block_ids = ids});
    prompts.push_back(std::move(ids));
  }
  return trace;
}

TEST_F(MooncakeWriter, UsesTheSpellingOfThePublishedFiles) {
  const RequestTrace trace =
      make_trace(512, {{0, 512, 3, {7}}, {27482, 600, 0, {0, std::numeric_limits<std::uint64_t>::max()}}});
  EXPECT_EQ(
      to_mooncake_jsonl(trace),
      "{\"timestamp\": 0, \"input_length\": 512, \"output_length\": 3, \"hash_ids\": [7]}\n"
      "{\"timestamp\": 27482, \"input_length\": 600, \"output_length\": 0, \"hash_ids\": [0, 18446744073709551615]}\n");
}

TEST_F(MooncakeWriter, WhatIsWrittenReadsBackEqual) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const RequestTrace trace = random_trace(seed);
    write_mooncake_jsonl(trace, folder_ / "t.jsonl");
    ASSERT_EQ(read_mooncake_jsonl(folder_ / "t.jsonl"), trace) << "seed " << seed;
  }
}

TEST_F(MooncakeWriter, PublishedFilesComeBackByteForByte) {
  const auto traces = test_support::find_trace_folder();
  if (!traces) GTEST_SKIP() << test_support::kNoTraceFolder;
  for (const char* name : {"mooncake-conversation/conversation_trace.first7000.jsonl",
                           "mooncake-synthetic/synthetic_trace.first2400.jsonl"}) {
    EXPECT_TRUE(to_mooncake_jsonl(read_mooncake_jsonl(*traces / name)) == bytes_of(*traces / name)) << name;
  }
}

TEST_F(MooncakeWriter, ReplacesAnOlderFileAndLeavesNothingElse) {
  const fs::path path = folder_ / "t.jsonl";
  std::ofstream(path) << "a much longer text than the trace that follows, so that a rest of it would show"
                      << std::string(500, 'x');
  write_mooncake_jsonl(make_trace(512, {{0, 1, 1, {1}}}), path);
  EXPECT_EQ(bytes_of(path), to_mooncake_jsonl(make_trace(512, {{0, 1, 1, {1}}})));
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(MooncakeWriter, AFailureLeavesTheOlderFileAsItWas) {
  const fs::path path = folder_ / "t.jsonl";
  std::ofstream(path) << "older";
  RequestTrace not_whole_milliseconds(512);
  const std::uint64_t id = 1;
  not_whole_milliseconds.append(
      {.arrival = Nanoseconds{1}, .input_tokens = 1, .output_tokens = 1, .block_ids = {&id, 1}});
  EXPECT_THROW(write_mooncake_jsonl(not_whole_milliseconds, path), ConfigError);
  EXPECT_EQ(bytes_of(path), "older");
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(MooncakeWriter, RefusesWhatTheFormatCannotHold) {
  const std::uint64_t id = 1;
  const auto error_for = [&](std::int64_t arrival_ns, std::uint32_t output_tokens) {
    RequestTrace trace(512);
    trace.append(
        {.arrival = Nanoseconds{arrival_ns}, .input_tokens = 1, .output_tokens = output_tokens, .block_ids = {&id, 1}});
    return error_of([&] { to_mooncake_jsonl(trace); });
  };
  EXPECT_THAT(error_for(1'500'000, 1),
              HasSubstr("request 0 cannot be written as Mooncake JSONL: found an arrival at 1500000 ns"));
  EXPECT_THAT(error_for(-1'000'000, 1), HasSubstr("expected a whole number of milliseconds"));
  EXPECT_THAT(error_for(0, kMaxRequestTokens + 1), HasSubstr("output tokens"));
  RequestTrace no_tokens(512);
  no_tokens.append({});
  EXPECT_THAT(error_of([&] { to_mooncake_jsonl(no_tokens); }), HasSubstr("found 0 input tokens"));
}

TEST_F(MooncakeWriter, ExplainsPathsThatCannotBeWritten) {
  const RequestTrace trace = make_trace(512, {{0, 1, 1, {1}}});
  EXPECT_THAT(error_of([&] { write_mooncake_jsonl(trace, folder_ / "missing" / "t.jsonl"); }),
              HasSubstr("t.jsonl: No such file or directory; expected the name of a file in an existing folder"));
  EXPECT_THAT(error_of([&] { write_mooncake_jsonl(trace, folder_); }), HasSubstr("is a directory"));
  EXPECT_EQ(num_files(), 0u);
}

TEST_F(MooncakeWriter, AnEmptyTraceIsAnEmptyFile) {
  write_mooncake_jsonl(RequestTrace(512), folder_ / "t.jsonl");
  EXPECT_EQ(bytes_of(folder_ / "t.jsonl"), "");
}

}  // namespace
}  // namespace reprefill::traces
