#include "engine/tokenizer/pattern.hpp"

#include "engine/tokenizer/pre_tokenizer.hpp"
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;

std::vector<std::string> pieces_of(const std::string& pattern, const std::string& text) {
  std::vector<std::string> pieces;
  PreTokenizer(pattern, "test").split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(PreTokenizer, CutsAsQwensPatternSays) {
  EXPECT_EQ(pieces_of(kQwenPattern, ""), (Pieces{}));
  EXPECT_EQ(pieces_of(kQwenPattern, "We don't know 12 things."),
            (Pieces{"We", " don", "'t", " know", " ", "1", "2", " things", "."}));
  EXPECT_EQ(pieces_of(kQwenPattern, "a  \n b\r\n\r\nc"), (Pieces{"a", "  \n", " b", "\r\n\r\n", "c"}));
  EXPECT_EQ(pieces_of(kQwenPattern, "f(x);\n\nreturn"), (Pieces{"f", "(x", ");\n\n", "return"}));
  EXPECT_EQ(pieces_of(kQwenPattern, "DON'T"), (Pieces{"DON", "'T"}));
  EXPECT_EQ(pieces_of(kQwenPattern, "\t\tx"), (Pieces{"\t", "\tx"}));
}

TEST(PreTokenizer, TheMongolianVowelSeparatorIsNoBlank) {
  // U+180E is \s to PCRE2, not to Unicode since 6.3 nor to Oniguruma.
  EXPECT_EQ(pieces_of(R"(\s+)",
                      "a\xe1\xa0\x8e"
                      "b c"),
            (Pieces{"a\xe1\xa0\x8e"
                    "b",
                    " ", "c"}));
  EXPECT_EQ(pieces_of(R"([^\s]+)",
                      "a\xe1\xa0\x8e"
                      "b"),
            (Pieces{"a\xe1\xa0\x8e"
                    "b"}));
}

TEST(PreTokenizer, LettersAndNumbersAreThoseOfUnicode16) {
  const std::string garay_letter = "\xf0\x90\xb5\x8a", garay_digit = "\xf0\x90\xb5\x80";  // U+10D4A, U+10D40
  EXPECT_EQ(pieces_of(kQwenPattern, "a" + garay_letter + "'s"), (Pieces{"a" + garay_letter, "'s"}));
  EXPECT_EQ(pieces_of(kQwenPattern, " " + garay_digit + garay_digit), (Pieces{" ", garay_digit, garay_digit}));
}

TEST(PreTokenizer, WhatLiesBetweenMatchesIsAPieceToo) {
  EXPECT_EQ(pieces_of("b+", "abbcb"), (Pieces{"a", "bb", "c", "b"}));
  EXPECT_EQ(pieces_of("b*",
                      "\xc3\xa9"
                      "b"),
            (Pieces{"\xc3\xa9", "b"}))
      << "empty matches make no pieces";
}

TEST(PreTokenizer, LongMatchesOfRepeatedGroupsHaveTheStackTheyNeed) {
  const std::string text(200'000, 'a');
  EXPECT_EQ(pieces_of("(?:ab?|a)+", text), (Pieces{text}));
}

TEST(PreTokenizer, APatternThatTriesEverythingEnds) {
  EXPECT_THROW(pieces_of("(?:a*)*b|(?:a|aa|aaa)+c", std::string(200, 'a')), ConfigError);
}

TEST(Pattern, WhatTheTwoEnginesReadDifferentlyIsRefused) {
  for (const std::string pattern :
       {R"(\w+)",    R"(\bx)", "a.b",    "^a",     "a$",    "(a)",        "(?<n>a)",       "(?i)a",    "(?m:a)",
        "(?<=a)b",   "a{,3}",  "a{2}+",  "a{2}?",  "a**",   R"(\p{Han})", R"(\p{Lu})",     R"(\P{L})", R"(\d)",
        R"(\p{^L})", R"(\pL)", "[a[b]]", "[a&&b]", "[]a]",  R"([\s-z])",  R"([\S])",       "a)",       "(?:a",
        "[a",        "\\",     R"(\1)",  R"(\h)",  R"(\R)", "(?i:[a])",   R"((?i:\p{L}))", "(?i:ss)",  "(?i:FI)",
        "*a",        "(?>a)"}) {
    EXPECT_THROW(PreTokenizer(pattern, "test"), ConfigError) << pattern;
  }
}

TEST(Pattern, WhatTheyReadAlikeIsTaken) {
  for (const std::string pattern :
       {R"(\p{L}?[\p{L}\-_.]++|\p{N}{1,3}|x*?y|(?:a|b)?c{2,}(?=d)(?!e)|\.)", "a{2}", "[^a-z]", R"(\[)"}) {
    EXPECT_NO_THROW(PreTokenizer(pattern, "test")) << pattern;
  }
}

}  // namespace
}  // namespace reprefill::engine
