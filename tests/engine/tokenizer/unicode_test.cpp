#include "engine/tokenizer/unicode.hpp"

#include <memory>

#include <utf8proc.h>

#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;

std::string utf8_of(std::initializer_list<utf8proc_int32_t> characters) {
  std::string text;
  for (const utf8proc_int32_t c : characters) {
    utf8proc_uint8_t bytes[4];
    text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(utf8proc_encode_char(c, bytes)));
  }
  return text;
}

/// utf8proc's own, of its Unicode version.
std::string newest_nfc(const std::string& text) {
  utf8proc_uint8_t* composed = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size)};
}

TEST(Nfc, ComposesAndOrdersMarks) {
  EXPECT_EQ(to_nfc(""), "");
  EXPECT_EQ(to_nfc("plain"), "plain");
  EXPECT_EQ(to_nfc("e\xcc\x81"), "\xc3\xa9");
  EXPECT_EQ(to_nfc(utf8_of({'a', 0x301, 0x323})), utf8_of({0x1ea1, 0x301})) << "below before above";
  EXPECT_EQ(to_nfc(utf8_of({0x1100, 0x1161, 0x11a8})), utf8_of({0xac01})) << "Hangul";
  EXPECT_EQ(to_nfc(utf8_of({0x212b})), utf8_of({0xc5})) << "the angstrom sign is a letter";
  EXPECT_EQ(to_nfc(utf8_of({0x958})), utf8_of({0x915, 0x93c})) << "excluded from composition";
  EXPECT_EQ(to_nfc(utf8_of({0x301})), utf8_of({0x301})) << "a mark without a base";
  EXPECT_EQ(to_nfc(std::string("e\0\xcc\x81", 4)), std::string("e\0\xcc\x81", 4)) << "NUL is a character";
}

TEST(Nfc, CharactersAfterUnicode9AreLeftAlone) {
  // U+1ABF (Unicode 13) has class 220, so that a newer NFC composes e with the acute behind it.
  const std::string text = utf8_of({'e', 0x1abf, 0x301});
  EXPECT_NE(newest_nfc(text), text);
  EXPECT_EQ(to_nfc(text), text);
  EXPECT_EQ(to_nfc(utf8_of({0x11935, 0x11930})), utf8_of({0x11935, 0x11930})) << "composes since Unicode 13";
}

TEST(Nfc, EveryCodePointBetweenMarksIsAsInUtf8procButForNewerOnes) {
  EXPECT_STREQ(utf8proc_unicode_version(), "15.0.0") << "extend kNewerThanUnicode9 in unicode.cpp for this version";
  int num_different = 0;
  for (utf8proc_int32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    // Class 240 before and 1 behind: whatever has a class moves.
    const std::string text = utf8_of({'e', 0x345, c, 0x334, 0x301});
    if (to_nfc(text) != newest_nfc(text)) ++num_different;
    ASSERT_EQ(to_nfc(to_nfc(text)), to_nfc(text));
  }
  EXPECT_EQ(num_different, 108) << "the characters of kNewerThanUnicode9 that have a class or decompose";
}

TEST(Nfc, RandomTextIsAsInUtf8proc) {
  RandomStream random(5, 0, "nfc");
  // Letters, marks of many classes, Hangul letters, precomposed characters; none newer than Unicode 9.
  const std::vector<std::pair<int, int>> ranges = {
      {0x41, 0x7a},     {0xc0, 0x17f},    {0x300, 0x362},   {0x591, 0x5c7},   {0x64b, 0x65f},   {0x915, 0x950},
      {0x1100, 0x1112}, {0x1161, 0x1175}, {0x11a7, 0x11c2}, {0x1e00, 0x1fff}, {0x3040, 0x30ff}, {0xac00, 0xac80}};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::uint64_t left = random.below(12); left > 0; --left) {
      const auto& [first, last] = ranges[random.below(ranges.size())];
      text += utf8_of({first + static_cast<int>(random.below(static_cast<std::uint64_t>(last - first + 1)))});
    }
    ASSERT_EQ(to_nfc(text), newest_nfc(text)) << testing::PrintToString(text);
  }
}

TEST(Nfc, AMillionMarksInTheWrongOrderAreNoLargeWork) {
  std::string text = "a", above, below;
  for (int i = 0; i < 500'000; ++i) {
    text += utf8_of({0x301, 0x316});
    above += utf8_of({0x301});
    below += utf8_of({0x316});
  }
  EXPECT_EQ(to_nfc(text), utf8_of({0xe1}) + below + above.substr(2));
}

TEST(Utf8, FindsTheFirstBytesThatAreNotWellFormed) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("12345678\xc3\xa9"
                              "12345678"),
            std::nullopt);
  EXPECT_EQ(find_invalid_utf8("12345678\xc3"
                              "12345678"),
            8u);
  EXPECT_EQ(find_invalid_utf8("\xf4\x8f\xbf\xbf"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("a\xe0\x9f\xbf"), 1u);
  EXPECT_EQ(find_invalid_utf8("a\xed\xa0\x80"), 1u);
}

TEST(Utf8, UnfinishedCharactersAreThoseThatMoreBytesMayComplete) {
  EXPECT_EQ(unfinished_utf8_bytes(""), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("a"), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xc3"), 1u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xe4\xb8"), 2u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xf0\x9f\x98"), 3u);
  EXPECT_EQ(unfinished_utf8_bytes("\xf0\x9f\x98\x80"), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("\xc0"), 0u) << "never begins a character";
  EXPECT_EQ(unfinished_utf8_bytes("\xed\xa0"), 0u) << "would be a surrogate";
  EXPECT_EQ(unfinished_utf8_bytes("\x80"), 0u);
}

}  // namespace
}  // namespace reprefill::engine
