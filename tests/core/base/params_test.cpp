#include "core/base/params.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprefill {

enum class Colour { red, blue };
template <>
struct EnumNames<Colour> {
  static constexpr std::pair<const char*, Colour> names[] = {{"red", Colour::red}, {"blue", Colour::blue}};
};

namespace {

using testing::HasSubstr;

struct Inner {
  std::uint32_t size = 3;
};
struct Outer {
  Bytes cache{100};
  Nanoseconds cost{5};
  double share = 0.5;
  bool on = true;
  Colour colour = Colour::blue;
  Budget budget{1, 20};
  std::optional<std::uint64_t> count;
  Inner inner;
};

ParamTable<Outer> table() {
  ParamTable<Inner> inner;
  inner.add(&Inner::size, {.name = "size", .doc = "d", .source = "s", .minimum = 1, .maximum = 9});
  ParamTable<Outer> t;
  t.add(&Outer::cache, {.name = "cache_bytes", .doc = "d", .source = "s", .maximum = 1e12});
  t.add(&Outer::cost, {.name = "cost_ns", .doc = "d", .source = "s"});
  t.add(&Outer::share, {.name = "share", .doc = "d", .source = "s", .maximum = 1});
  t.add(&Outer::on, {.name = "on", .doc = "d", .source = "s"});
  t.add(&Outer::colour, {.name = "colour", .doc = "d", .source = "s"});
  t.add(&Outer::budget, {.name = "budget", .doc = "d", .source = "s"});
  t.add(&Outer::count, {.name = "count", .doc = "d", .source = "s"});
  t.add_group("inner", &Outer::inner, inner);
  return t;
}

Outer read(const char* text) {
  Outer outer;
  const Json json = parse_json(text, "f.json");
  table().read(JsonValue(json, "f.json", "params"), outer);
  return outer;
}

std::string error_of(const char* text) {
  try {
    read(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Params, WhatIsNotNamedKeepsItsDefault) {
  const Outer outer = read("{}");
  EXPECT_EQ(outer.cache, Bytes{100});
  EXPECT_EQ(outer.colour, Colour::blue);
  EXPECT_FALSE(outer.count.has_value());
}

TEST(Params, DimensionalKeysTakeANumberWithTheUnitInTheNameOrAStringWithAUnit) {
  EXPECT_EQ(read(R"({"cache_bytes": 1000})").cache, Bytes{1000});
  EXPECT_EQ(read(R"({"cache": "2 kB"})").cache, Bytes{2000});
  EXPECT_EQ(read(R"({"cost": "3 us"})").cost, Nanoseconds{3000});
  EXPECT_THAT(error_of(R"({"cache": "2 kB", "cache_bytes": 5})"), HasSubstr("both cache_bytes and cache"));
  EXPECT_THAT(error_of(R"({"cache": "0.0001 kB"})"), HasSubstr("whole number of bytes"));
  EXPECT_THAT(error_of(R"({"cache": 5})"), HasSubstr("a number with a unit"));
}

TEST(Params, ErrorsNameFilePathFoundAndAllowed) {
  EXPECT_THAT(error_of(R"({"inner": {"size": 10}})"),
              HasSubstr("f.json: params.inner.size: found 10; expected a whole number from 1 to 9"));
  EXPECT_THAT(error_of(R"({"colour": "bleu"})"), HasSubstr("did you mean blue?"));
  EXPECT_THAT(error_of(R"({"chare": 1})"), HasSubstr("params.chare: unknown key; did you mean share?"));
  EXPECT_THAT(error_of(R"({"share": 1.5})"), HasSubstr("from 0 to 1"));
  EXPECT_THAT(error_of(R"({"on": 1})"), HasSubstr("true or false"));
}

TEST(Params, TheResolvedConfigurationReadsBackAsItself) {
  const Outer outer =
      read(R"({"cache": "7 MiB", "budget": "1/3", "count": 4, "colour": "red", "inner": {"size": 2}, "share": 0.1})");
  const Json resolved = table().write(outer);
  EXPECT_EQ(table().write(read(resolved.dump().c_str())), resolved);
  EXPECT_EQ(resolved["budget"], "1/3");
  EXPECT_EQ(resolved["cache_bytes"], 7 * 1024 * 1024);
}

TEST(Params, OptionalOnesTakeNull) { EXPECT_FALSE(read(R"({"count": null})").count.has_value()); }

TEST(Params, TheSchemaHasBothFormsOfADimensionalKey) {
  Json properties = Json::object();
  for (const ParamInfo& info : table().infos()) add_to_schema(properties, info);
  EXPECT_TRUE(properties.contains("cache_bytes") && properties.contains("cache"));
  EXPECT_EQ(properties["colour"]["enum"], (Json{"red", "blue"}));
  EXPECT_TRUE(properties.contains("inner.size"));
}

}  // namespace
}  // namespace reprefill
