#include "core/base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace reprefill {
namespace {

using testing::HasSubstr;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseJson, RefusesDuplicateKeysAtAnyDepthButNotInSiblings) {
  EXPECT_THAT(error_of([] { parse_json(R"({"a": {"b": 1, "b": 2}})", "f.json"); }),
              HasSubstr("f.json: a.b: key appears twice"));
  EXPECT_NO_THROW(parse_json(R"([{"b": 1}, {"b": 2}])", "f.json"));
}

TEST(ParseJson, TakesSixtyFourLevelsAndNoMore) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(64), "f.json"));
  EXPECT_THAT(error_of([&] { parse_json(nested(66), "f.json"); }), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(error_of([&] { parse_json(std::string(2'000'000, '['), "f.json"); }), HasSubstr("nested deeper"));
}

TEST(ParseJson, NamesFileAndPlaceOfGarbage) {
  for (const char* text : {"", "{", "{\"a\":}", "NaN", "{} x", "\xff\xfe", "1e999"}) {
    EXPECT_THAT(error_of([&] { parse_json(text, "f.json"); }), HasSubstr("f.json: ")) << text;
  }
}

TEST(JsonValue, QuantitiesNeedAUnitOfTheirDimension) {
  const auto quantity = [](const char* text, const char* dimension) {
    const Json json = text;
    return JsonValue(json, "f.json", "key").as_quantity(dimension);
  };
  EXPECT_EQ(quantity("10 GB", "bytes"), 1e10);
  EXPECT_EQ(quantity("4MiB", "bytes"), 4.0 * 1024 * 1024);
  EXPECT_EQ(quantity("7.45 GB/s", "bytes_per_s"), 7.45e9);
  EXPECT_EQ(quantity("130 us", "ns"), 130e3);
  EXPECT_EQ(quantity("312 TFLOP/s", "flops_per_s"), 312e12);
  for (const char* text : {"10", "10 GB/s", "10 gb", "ten GB", "", "1e999 GB", "nan GB"}) {
    EXPECT_THAT(error_of([&] { quantity(text, "bytes"); }), HasSubstr("f.json: key: found")) << text;
  }
}

TEST(JsonValue, WholeNumbersMayBeWrittenAsDecimalsButNotBeFractions) {
  const auto integer = [](const Json& json) {
    return JsonValue(json, "f.json", "key").as_integer(0, 1'000'000'000'000, "x");
  };
  EXPECT_EQ(integer(1e10), 10'000'000'000);
  EXPECT_EQ(integer(5), 5);
  for (const Json& json : {Json(1.5), Json(-1), Json(1e300), Json("5"), Json(nullptr), Json(~std::uint64_t{0})}) {
    EXPECT_THROW(integer(json), ConfigError) << json.dump();
  }
}

}  // namespace
}  // namespace reprefill
