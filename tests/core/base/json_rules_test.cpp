// Configuration texts that are damaged in every way we could think of: each is refused with its place, none crashes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/base/json.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

template <typename... Parts>
void expect_refused(const std::string& text, const Parts&... parts) {
  EXPECT_THAT([&] { parse_json(text, "f.json"); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("f.json: "), HasSubstr(parts)...)))
      << text.substr(0, 100);
}

// ---- texts ----

TEST(JsonText, SixtyFourLevelsAreTakenWhateverTheyHoldAndSixtyFiveRefused) {
  const auto arrays = [](std::size_t depth, const char* inner) {
    return std::string(depth, '[') + inner + std::string(depth, ']');
  };
  const auto objects = [](std::size_t depth, const std::string& inner) {
    std::string text = inner;
    for (std::size_t i = 0; i < depth; ++i) text = "{\"a\":" + text + "}";
    return text;
  };
  for (const char* inner : {"", "1", "1, 2", "\"x\""}) {
    EXPECT_NO_THROW(parse_json(arrays(64, inner), "f.json")) << inner;
    expect_refused(arrays(65, inner), "nested deeper than 64 levels");
  }
  EXPECT_NO_THROW(parse_json(objects(64, "null"), "f.json"));
  expect_refused(objects(65, "null"), "nested deeper than 64 levels");
  EXPECT_NO_THROW(parse_json(objects(63, "{}"), "f.json"));
  expect_refused(objects(64, "{}"), "nested deeper than 64 levels");
  EXPECT_NO_THROW(parse_json(arrays(63, "[], [], []"), "f.json"));  // many, not deep
  expect_refused(std::string(5'000'000, '{'), "f.json");
}

TEST(JsonText, AKeyMayAppearOnceInAnObject) {
  expect_refused(R"({"a": 1, "b": 2, "a": 1})", "a: key appears twice");
  expect_refused(R"([[{"x": {"a": 1, "a": 2}}]])", "[0][0].x.a: key appears twice");
  expect_refused(R"({"s": ["x", {"b": {}}, [], {"n": 1, "p": {"q": [1, {}]}, "n": 2}]})", "s[3].n: key appears twice");
  expect_refused(R"({"a": {"b": {"c": 1}, "d": [{"e": 1}, {"e": 1, "f": 2, "e": 3}]}})", "a.d[1].e: key appears twice");
  expect_refused(R"({"a": 1, "\u0061": 2})", "a: key appears twice");  // the same key, spelt otherwise
  expect_refused(R"({"a": {"b": 1}, "c": 2, "a": {}})", "a: key appears twice");
  expect_refused(R"({"": 1, "": 2})", "key appears twice");
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}], "A": 3})", "f.json"));
}

const char* const kSound = R"({"a": [1, -2.5e3, "x\u00e9\n", true, null], "b": {"c": "d", "e": {}}, "f": []})";

TEST(JsonText, EveryTruncationIsRefused) {
  const std::string text = kSound;
  EXPECT_NO_THROW(parse_json(text, "f.json"));
  for (std::size_t length = 0; length < text.size(); ++length) expect_refused(text.substr(0, length), "column");
}

TEST(JsonText, EveryChangeOfOneByteParsesOrIsRefused) {
  const std::string text = kSound;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = static_cast<char>(byte);
      try {
        parse_json(changed, "f.json");
      } catch (const ConfigError& error) {
        ASSERT_THAT(error.what(), HasSubstr("f.json: "));
      }  // anything else fails the test
    }
  }
}

TEST(JsonText, WhatIsNotJsonIsRefusedWithItsLineAndColumn) {
  for (const char* text :
       {"NaN",  "[nan]",  "[Infinity]", "[-Infinity]",   "[0x10]",   "[+1]",  "[01]",           "[.5]",
        "[1.]", "[1,]",   "{\"a\":1,}", "{a: 1}",        "{'a': 1}", "[1 2]", "// c\n[]",       "[] []",
        "[]x",  "\"\t\"", "[\"\\x\"]",  "[\"\\ud800\"]", "[tru]",    "\xff",  "[\"\xc3\x28\"]", "[\"\xed\xa0\x80\"]"}) {
    expect_refused(text, "line ", "column ");
  }
  expect_refused("{\n  \"a\": 1,\n  \"b\" 2\n}", "line 3");
}

TEST(JsonText, AByteOrderMarkIsSkipped) {
  const Json json = parse_json("\xef\xbb\xbf{\"a\": 1}", "f.json");
  EXPECT_EQ(json.at("a"), 1);
}

TEST(JsonText, NumbersBeyondADoubleAreRefused) {
  expect_refused("1e999", "1e999");
  expect_refused("[-1e400]", "-1e400");
  EXPECT_EQ(parse_json("1e-999", "f.json"), 0.0);
}

TEST(JsonText, FilesAreReadWithTheirNameInEveryError) {
  const test_support::TemporaryFolder folder;
  EXPECT_THAT([&] { read_json_file(folder / "none.json"); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr((folder / "none.json").string()), HasSubstr("No such file"))));
  EXPECT_THAT([&] { read_json_file(folder.path()); }, ThrowsMessage<ConfigError>(HasSubstr("is a folder")));
  test_support::write_text(folder / "bad.json", "{\"a\": }");
  EXPECT_THAT([&] { read_json_file(folder / "bad.json"); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("bad.json: "), HasSubstr("line 1"))));
  test_support::write_text(folder / "good.json", "{\"a\": [1, 2]}");
  EXPECT_EQ(read_json_file(folder / "good.json").at("a").size(), 2u);
}

// ---- values ----

TEST(JsonPlace, IsTheWholeWayToTheValue) {
  const Json json = parse_json(R"({"systems": [1, {"params": {"x": "y"}}]})", "s.json");
  const JsonValue root(json, "s.json");
  const JsonValue value = root.key("systems").element(1).key("params").key("x");
  EXPECT_EQ(value.path(), "systems[1].params.x");
  EXPECT_THAT([&] { value.as_bool(); },
              ThrowsMessage<ConfigError>("s.json: systems[1].params.x: found \"y\"; expected true or false"));
  EXPECT_THAT([&] { root.as_string(); }, ThrowsMessage<ConfigError>(HasSubstr("s.json: found {")));
}

TEST(JsonPlace, AMissingKeyIsTheUsersErrorWithThePlace) {
  const Json json = parse_json(R"({"a": {"b": 1}, "c": 3})", "s.json");
  const JsonValue root(json, "s.json");
  EXPECT_THAT([&] { (void)root.key("a").key("x"); }, ThrowsMessage<ConfigError>("s.json: a: x is missing"));
  EXPECT_THAT([&] { (void)root.key("c").key("x"); }, ThrowsMessage<ConfigError>("s.json: c: x is missing"));
  EXPECT_FALSE(root.key("c").has("x"));
}

TEST(JsonPlace, UnknownKeysAreNamedWithPathNearestAndAllowed) {
  const Json json = parse_json(R"({"ssd": {"queue_dept": 4}})", "s.json");
  const JsonValue ssd = JsonValue(json, "s.json").key("ssd");
  EXPECT_NO_THROW(ssd.refuse_unknown_keys({"queue_dept"}));
  EXPECT_THAT(
      [&] {
        ssd.refuse_unknown_keys({"latency", "queue_depth"});
      },
      ThrowsMessage<ConfigError>(
          "s.json: ssd.queue_dept: unknown key; did you mean queue_depth? allowed: latency, queue_depth"));
}

TEST(JsonPlace, LongValuesAreAbbreviated) {
  const Json json = Json(std::string(10'000, 'x'));
  EXPECT_THAT([&] { JsonValue(json, "s.json", "k").as_bool(); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("xxx..."), Not(HasSubstr(std::string(61, 'x'))))));
}

TEST(JsonInteger, KeepsEveryBitUpToItsBounds) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  const auto read = [](const char* text) {
    const Json json = parse_json(text, "f.json");
    return JsonValue(json, "f.json", "k").as_integer(kLeast, kMost, "");
  };
  EXPECT_EQ(read("9223372036854775807"), kMost);
  EXPECT_EQ(read("-9223372036854775808"), kLeast);
  EXPECT_EQ(read("9007199254740993"), 9007199254740993);  // not a double
  EXPECT_EQ(read("2.5e3"), 2500);
  EXPECT_EQ(read("-0.0"), 0);
  for (const char* text : {"9223372036854775808", "18446744073709551615", "123456789012345678901234567890", "1e18",
                           "0.5", "-1e300", "true", "\"1\"", "[1]", "null"}) {
    EXPECT_THAT([=] { read(text); }, ThrowsMessage<ConfigError>(HasSubstr("f.json: k: found "))) << text;
  }
}

TEST(JsonInteger, NamesItsRangeAndUnit) {
  const Json json = 17;
  const JsonValue value(json, "f.json", "k");
  EXPECT_EQ(value.as_integer(17, 17, "tokens"), 17);
  EXPECT_THAT([&] { value.as_integer(18, 20, "tokens"); },
              ThrowsMessage<ConfigError>("f.json: k: found 17; expected a whole number from 18 to 20 tokens"));
}

TEST(JsonNumber, IsBoundedOnBothSides) {
  const Json json = 0.5;
  const JsonValue value(json, "f.json", "k");
  EXPECT_EQ(value.as_number(0.5, 0.5, ""), 0.5);
  EXPECT_THAT([&] { value.as_number(0.6, 1, "GB"); },
              ThrowsMessage<ConfigError>("f.json: k: found 0.5; expected a number from 0.6 to 1 GB"));
  EXPECT_THROW(value.as_number(0, 0.4, ""), ConfigError);
}

// ---- quantities ----

double quantity(const std::string& text, std::string_view dimension) {
  const Json json = text;
  return JsonValue(json, "f.json", "k").as_quantity(dimension);
}

TEST(JsonQuantity, EveryUnitHasItsFactor) {
  EXPECT_EQ(quantity("3 B", "bytes"), 3);
  EXPECT_EQ(quantity("3 kB", "bytes"), 3e3);
  EXPECT_EQ(quantity("3 KB", "bytes"), 3e3);
  EXPECT_EQ(quantity("3 MB", "bytes"), 3e6);
  EXPECT_EQ(quantity("3 GB", "bytes"), 3e9);
  EXPECT_EQ(quantity("3 TB", "bytes"), 3e12);
  EXPECT_EQ(quantity("3 KiB", "bytes"), 3.0 * (1 << 10));
  EXPECT_EQ(quantity("3 MiB", "bytes"), 3.0 * (1 << 20));
  EXPECT_EQ(quantity("3 GiB", "bytes"), 3.0 * (1 << 30));
  EXPECT_EQ(quantity("3 TiB", "bytes"), 3.0 * 1024 * (1 << 30));
  EXPECT_EQ(quantity("3 ns", "ns"), 3);
  EXPECT_EQ(quantity("3 us", "ns"), 3e3);
  EXPECT_EQ(quantity("3 ms", "ns"), 3e6);
  EXPECT_EQ(quantity("3 s", "ns"), 3e9);
  EXPECT_EQ(quantity("3 min", "ns"), 180e9);
  EXPECT_EQ(quantity("3 MB/s", "bytes_per_s"), 3e6);
  EXPECT_EQ(quantity("3 GiB/s", "bytes_per_s"), 3.0 * (1 << 30));
  EXPECT_EQ(quantity("3 GFLOP/s", "flops_per_s"), 3e9);
  EXPECT_EQ(quantity("3 PFLOP/s", "flops_per_s"), 3e15);
}

TEST(JsonQuantity, ASpaceBeforeTheUnitIsOptional) {
  EXPECT_EQ(quantity("10GB", "bytes"), 1e10);
  EXPECT_EQ(quantity("10  GB", "bytes"), 1e10);
  EXPECT_EQ(quantity("1e1 GB", "bytes"), 1e10);
  EXPECT_EQ(quantity("1.5 KiB", "bytes"), 1536);
}

TEST(JsonQuantity, EveryDecimalOfThreePlacesIsWholeInTheNextUnit) {
  // 1.001 * 1000 is 1000.9999999999999 in doubles, and 1.001 us is 1001 ns.
  for (std::int64_t i = 0; i < 30'000; ++i) {
    const std::string number = fmt::format("{}.{:03}", i / 1000, i % 1000);
    ASSERT_EQ(quantity(number + " us", "ns"), static_cast<double>(i)) << number;
    ASSERT_EQ(quantity(number + " GB", "bytes"), static_cast<double>(i * 1'000'000)) << number;
    ASSERT_EQ(quantity(number + " min", "ns"), static_cast<double>(i * 60'000'000)) << number;
  }
}

TEST(JsonQuantity, FractionsStayFractions) {
  EXPECT_EQ(quantity("1.5 B", "bytes"), 1.5);
  EXPECT_NE(quantity("0.3 KiB", "bytes"), 307);
  EXPECT_NE(quantity("1.0000001 MB", "bytes"), 1'000'000);
}

TEST(JsonQuantity, AnythingElseIsRefusedWithTheUnitsOfTheDimension) {
  for (const char* text : {"10", "GB", "10 gb", "10 Gb", "10 GB/s", "10 s", "10 GB ", " 10 GB", "10 G B", "10,5 GB",
                           "inf GB", "nan GB", "1e999 GB", "0x10 GB", "+1 GB", "--1 GB", ""}) {
    EXPECT_THAT([=] { quantity(text, "bytes"); },
                ThrowsMessage<ConfigError>(AllOf(HasSubstr(fmt::format("f.json: k: found \"{}\"", text)),
                                                 HasSubstr("such as \"10 B\""),
                                                 HasSubstr("B, kB, KB, MB, GB, TB, KiB, MiB, GiB, TiB"))))
        << text;
  }
  EXPECT_THAT([] { quantity("10 GB", "ns"); }, ThrowsMessage<ConfigError>(HasSubstr("units: ns, us, ms, s, min")));
}

}  // namespace
}  // namespace reprefill
