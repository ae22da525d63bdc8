#include "engine/tokenizer/plain_words.hpp"

#include "core/base/error.hpp"
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;

TEST(PlainWords, AreLowerCaseWordsThatAreOneTokenBehindASpace) {
  // "he" has no space in front, "1" is no letter.
  const Tokenizer tokenizer = parse(tiny_tokenizer({{"\xc4\xa0", "h"},
                                                    {"\xc4\xa0h", "e"},
                                                    {"h", "e"},
                                                    {"\xc4\xa0", "1"},
                                                    {"\xc4\xa0", "a"},
                                                    {"\xc4\xa0"
                                                     "a",
                                                     "b"}}));
  EXPECT_EQ(plain_words(tokenizer, "t", 2), (std::vector<std::string>{"h", "he", "a", "ab"}));
  EXPECT_THROW(plain_words(tokenizer, "t", 5), ConfigError);
}

TEST(PlainWords, AWordThatItsTextDoesNotEncodeToIsLeftOut) {
  // "Ġab" is in the vocabulary, but a+b merges first, so " ab" never becomes it.
  const Tokenizer tokenizer = parse(tiny_tokenizer({{"a", "b"},
                                                    {"\xc4\xa0", "a"},
                                                    {"\xc4\xa0"
                                                     "a",
                                                     "b"}}));
  EXPECT_EQ(plain_words(tokenizer, "t", 0), (std::vector<std::string>{"a"}));
}

TEST(PlainWords, OfThePublishedTokenizerMakeTextsOfExactlySoManyTokens) {
  if (qwen_tokenizer() == nullptr) GTEST_SKIP() << kNoQwenFolder;
  const std::vector<std::string> words = plain_words(*qwen_tokenizer(), "qwen", 10'000);
  std::string text;
  for (std::size_t i = 0; i < 20'000; ++i) text += " " + words[i * 7919 % words.size()];
  EXPECT_EQ(qwen_tokenizer()->encode(text).size(), 20'000u);
}

}  // namespace
}  // namespace reprefill::engine
