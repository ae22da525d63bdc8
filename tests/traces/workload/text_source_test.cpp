#include "traces/workload/text_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "tests/traces/workload/gzip_text.hpp"

namespace reprefill::traces {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Hands out a few bytes at a time, as a pipe may.
class TrickleBytes final : public ByteSource {
 public:
  TrickleBytes(std::string text, std::size_t piece) : text_(std::move(text)), piece_(piece) {}
  std::size_t read(char* to, std::size_t capacity) override {
    const std::size_t size = std::min({piece_, capacity, text_.size() - at_});
    text_.copy(to, size, at_);
    at_ += size;
    return size;
  }

 private:
  std::string text_;
  std::size_t piece_;
  std::size_t at_ = 0;
};

std::vector<std::string> lines_of(std::unique_ptr<ByteSource> bytes) {
  LineReader reader(std::move(bytes), "t", 8);
  std::vector<std::string> lines;
  while (const auto line = reader.next()) {
    lines.emplace_back(*line);
    EXPECT_EQ(reader.line_number(), lines.size());
  }
  return lines;
}

std::string error_of_unpacking(const std::string& packed) {
  try {
    read_all(*gunzip(bytes_of(packed), "t.gz"), "t.gz", 1 << 30, 0);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(LineReader, KeepsEmptyLinesAndALastLineWithoutEnd) {
  EXPECT_THAT(lines_of(bytes_of("a\n\nbc")), ElementsAre("a", "", "bc"));
  EXPECT_THAT(lines_of(bytes_of("a\n")), ElementsAre("a"));
  EXPECT_THAT(lines_of(bytes_of("")), ElementsAre());
  EXPECT_THAT(lines_of(bytes_of("\n")), ElementsAre(""));
}

TEST(BytesOf, KnowsWhatIsLeft) {
  const auto bytes = bytes_of("abc");
  EXPECT_EQ(bytes->most_bytes_left(), 3u);
  char two[2];
  EXPECT_EQ(bytes->read(two, 2), 2u);
  EXPECT_EQ(bytes->most_bytes_left(), 1u);
}

TEST(LineReader, SkipsAByteOrderMarkInFrontOnlyEvenWhenItComesByteByByte) {
  EXPECT_THAT(lines_of(std::make_unique<TrickleBytes>("\xEF\xBB\xBFx\n\xEF\xBB\xBFy", 1)),
              ElementsAre("x", "\xEF\xBB\xBFy"));
  EXPECT_THAT(lines_of(bytes_of("\xEF\xBB")), ElementsAre("\xEF\xBB"));
}

TEST(LineReader, ReadsTheSameLinesInPiecesOfAnySize) {
  RandomStream random(1, 0, "line_reader_test");
  std::string text;
  std::vector<std::string> expected;
  for (const std::size_t length : {0u, 1u, 5u, 70'000u, 300'000u, 3u, 600'000u, 2u}) {
    std::string line;
    for (std::size_t i = 0; i < length; ++i) line += static_cast<char>('a' + random.below(26));
    text += line + "\n";
    expected.push_back(line);
  }
  for (const std::size_t piece : {7u, 4096u, 1u << 20}) {
    EXPECT_EQ(lines_of(std::make_unique<TrickleBytes>(text, piece)), expected) << piece;
  }
}

TEST(Gunzip, GivesBackWhatWasPackedInPiecesOfAnySize) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += fmt::format("{} ", mix64(static_cast<std::uint64_t>(i)));
  const std::string packed = gzip_text(text);
  for (const std::size_t piece : {1u, 1000u, 1u << 20}) {
    const std::vector<char> unpacked =
        read_all(*gunzip(std::make_unique<TrickleBytes>(packed, piece), "t.gz"), "t.gz", 1 << 30, 0);
    EXPECT_EQ(std::string(unpacked.begin(), unpacked.end()), text) << piece;
  }
}

TEST(Gunzip, JoinsMembersAndKnowsAnEmptyText) {
  const std::string packed = gzip_text("ab") + gzip_text("") + gzip_text("c\n");
  EXPECT_THAT(lines_of(gunzip(bytes_of(packed), "t.gz")), ElementsAre("abc"));
  EXPECT_THAT(lines_of(gunzip(bytes_of(gzip_text("")), "t.gz")), ElementsAre());
}

TEST(Gunzip, RefusesEveryTruncationAndWhatIsNotGzip) {
  const std::string packed = gzip_text("some text, some text, some text");
  for (std::size_t size = 0; size < packed.size(); ++size) {
    EXPECT_THAT(error_of_unpacking(packed.substr(0, size)), HasSubstr("t.gz: found a file that ends")) << size;
  }
  EXPECT_THAT(error_of_unpacking("{\"timestamp\": 1}"), HasSubstr("is not gzip"));
  EXPECT_THAT(error_of_unpacking(packed + "tail"), HasSubstr("expected whole gzip data"));
}

TEST(Gunzip, RefusesAWrongChecksum) {
  std::string packed = gzip_text("some text");
  packed[packed.size() - 6] ^= 1;
  EXPECT_THAT(error_of_unpacking(packed), HasSubstr("is damaged"));
}

TEST(ReadAll, RefusesMoreThanItMayHoldAndPadsWithZeros) {
  const std::vector<char> text = read_all(*bytes_of("abc"), "t", 3, 4);
  EXPECT_EQ(std::string(text.begin(), text.end()), std::string("abc\0\0\0\0", 7));
  EXPECT_THROW(read_all(*bytes_of("abcd"), "t", 3, 0), ConfigError);
}

}  // namespace
}  // namespace reprefill::traces
