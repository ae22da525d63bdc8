// Rules of parameter declarations that a component may rely on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/params.hpp"
#include "core/base/random.hpp"

namespace reprefill {

enum class Fruit : std::uint8_t { apple, pear, plum };
template <>
struct EnumNames<Fruit> {
  static constexpr std::pair<const char*, Fruit> names[] = {
      {"apple", Fruit::apple}, {"pear", Fruit::pear}, {"plum", Fruit::plum}};
};

namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Shared {
  std::uint32_t chunk_tokens = 16;
};
struct Group {
  Fruit fruit = Fruit::pear;
  Bytes size{10};
};
struct Params : Shared {
  Bytes cache{1000};
  Nanoseconds cost{0};
  BytesPerSecond rate{1e9};
  FlopsPerSecond peak{1e12};
  std::int32_t shift = 0;
  std::uint8_t small = 1;
  double share = 0.25;
  bool on = false;
  Fruit fruit = Fruit::apple;
  std::string mode = "fast";
  std::string title;
  Budget budget{1, 20};
  std::vector<int> heads = {0, 1, 2};
  std::optional<std::uint64_t> limit;
  std::optional<Bytes> staging;
  std::optional<Fruit> spare;
  Group group;
};

ParamTable<Params> table() {
  ParamTable<Group> group;
  group.add(&Group::fruit, {.name = "fruit", .doc = "d", .source = "s"});
  group.add(&Group::size, {.name = "size_bytes", .doc = "d", .source = "s", .minimum = 1, .maximum = 100});
  ParamTable<Params> t;
  t.add(&Params::chunk_tokens, {.name = "chunk_tokens", .doc = "d", .source = "s", .unit = "tokens", .minimum = 1});
  t.add(&Params::cache, {.name = "cache_bytes", .doc = "the cache", .source = "s", .minimum = 10, .maximum = 1e12});
  t.add(&Params::cost, {.name = "cost_ns", .doc = "d", .source = "s"});
  t.add(&Params::rate, {.name = "rate_bytes_per_s", .doc = "d", .source = "s", .minimum = 1, .maximum = 1e13});
  t.add(&Params::peak, {.name = "peak_flops_per_s", .doc = "d", .source = "s", .maximum = 1e18});
  t.add(&Params::shift, {.name = "shift", .doc = "d", .source = "s", .minimum = -5, .maximum = 5});
  t.add(&Params::small, {.name = "small", .doc = "d", .source = "s"});
  t.add(&Params::share, {.name = "share", .doc = "d", .source = "s", .maximum = 1});
  t.add(&Params::on, {.name = "on", .doc = "d", .source = "s"});
  t.add(&Params::fruit, {.name = "fruit", .doc = "d", .source = "s"});
  t.add(&Params::mode, {.name = "mode", .doc = "d", .source = "s", .choices = {"fast", "slow"}});
  t.add(&Params::title, {.name = "title", .doc = "d", .source = "s"});
  t.add(&Params::budget, {.name = "budget", .doc = "d", .source = "s"});
  t.add(&Params::heads, {.name = "heads", .doc = "d", .source = "s"});
  t.add(&Params::limit, {.name = "limit", .doc = "d", .source = "s", .minimum = 1, .maximum = 50});
  t.add(&Params::staging, {.name = "staging_bytes", .doc = "d", .source = "s"});
  t.add(&Params::spare, {.name = "spare", .doc = "d", .source = "s"});
  t.add_group("group", &Params::group, group);
  return t;
}

Params read(const std::string& text, Params defaults = {}) {
  const Json json = parse_json(text, "f.json");
  table().read(JsonValue(json, "f.json", "systems[0].params"), defaults);
  return defaults;
}

template <typename... Parts>
void expect_refused(const std::string& text, const Parts&... parts) {
  EXPECT_THAT([&] { read(text); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("f.json: systems[0].params"), HasSubstr(parts)...)))
      << text;
}

// ---- defaults ----

TEST(ParamRules, DefaultsAreThoseOfTheStructThatIsHandedIn) {
  Params prototype;
  prototype.cache = Bytes{77};
  prototype.fruit = Fruit::plum;
  prototype.limit = 5;
  const Params kept = read(R"({"share": 0.5})", prototype);
  EXPECT_EQ(kept.cache, Bytes{77});
  EXPECT_EQ(kept.fruit, Fruit::plum);
  EXPECT_EQ(kept.limit, 5u);
  EXPECT_EQ(kept.share, 0.5);
}

TEST(ParamRules, AGroupKeepsTheDefaultsThatItDoesNotName) {
  const Params params = read(R"({"group": {"size": "50 B"}})");
  EXPECT_EQ(params.group.size, Bytes{50});
  EXPECT_EQ(params.group.fruit, Fruit::pear);
  EXPECT_EQ(read(R"({"group": {}})").group.size, Bytes{10});
}

TEST(ParamRules, ParametersOfABaseAreReadInPlace) { EXPECT_EQ(read(R"({"chunk_tokens": 32})").chunk_tokens, 32u); }

// ---- required ones and keys that others read ----

TEST(ParamRules, ARequiredParameterIsNamedWithItsMeaning) {
  ParamTable<Params> t;
  t.add(&Params::cache, {.name = "cache_bytes", .doc = "size of the cache", .source = "s", .required = true});
  Params params;
  const Json none = Json::object();
  EXPECT_THAT([&] { t.read(JsonValue(none, "f.json", "here"), params); },
              ThrowsMessage<ConfigError>("f.json: here: cache_bytes is missing: size of the cache"));
  for (const char* text : {R"({"cache": "1 MB"})", R"({"cache_bytes": 1000000})"}) {
    const Json json = parse_json(text, "f.json");
    t.read(JsonValue(json, "f.json"), params);
    EXPECT_EQ(params.cache, Bytes{1'000'000});
  }
}

TEST(ParamRules, KeysThatTheCallerReadsItselfAreLeftToIt) {
  const Json json = parse_json(R"({"name": "x", "share": 1})", "f.json");
  Params params;
  EXPECT_THROW(table().read(JsonValue(json, "f.json"), params), ConfigError);
  EXPECT_NO_THROW(table().read(JsonValue(json, "f.json"), params, {"name"}));
  EXPECT_EQ(params.share, 1);
}

TEST(ParamRules, UnknownKeysAreRefusedAtEveryLevelWithPathAndNearestName) {
  expect_refused(R"({"chunk_token": 16})", "params.chunk_token: unknown key; did you mean chunk_tokens?");
  expect_refused(R"({"cach": "1 MB"})", "did you mean cache?");
  expect_refused(R"({"group": {"froot": "pear"}})", "params.group.froot: unknown key; did you mean fruit?");
  expect_refused(R"({"group": 3})", "params.group: found 3; expected an object");
  expect_refused("[]", "params: found []; expected an object");
}

// ---- dimensions ----

TEST(ParamRules, ADimensionalParameterHasTwoFormsAndNoThird) {
  EXPECT_EQ(read(R"({"rate": "2 GB/s"})").rate.value, 2e9);
  EXPECT_EQ(read(R"({"rate_bytes_per_s": 2.5})").rate.value, 2.5);
  EXPECT_EQ(read(R"({"peak": "312 TFLOP/s"})").peak.value, 312e12);
  EXPECT_EQ(read(R"({"cost": "1.001 us"})").cost, Nanoseconds{1001});
  expect_refused(R"({"cache": 1000})", "params.cache: found 1000", "with a unit");
  expect_refused(R"({"cache_bytes": "10 GB"})", "params.cache_bytes: found \"10 GB\"", "a whole number");
  expect_refused(R"({"cache": "1 GB/s"})", "params.cache", "\"1 GB/s\"", "MiB");
  expect_refused(R"({"rate": "1 GB"})", "params.rate", "GB/s");
  expect_refused(R"({"cache": "1 MB", "cache_bytes": 1000000})", "both cache_bytes and cache are given; keep one");
  expect_refused(R"({"group": {"size": "2 B", "size_bytes": 2}})", "params.group: both size_bytes and size");
}

TEST(ParamRules, BytesAndNanosecondsAreWhole) {
  EXPECT_EQ(read(R"({"cache": "1.5 KiB"})").cache, Bytes{1536});
  expect_refused(R"({"cache": "0.3 KiB"})", "params.cache: found \"0.3 KiB\"", "a whole number of bytes");
  expect_refused(R"({"cache": "10.5 B"})", "whole");
  expect_refused(R"({"cache_bytes": 10.5})", "params.cache_bytes: found 10.5", "whole");
  expect_refused(R"({"cost": "0.5 ns"})", "params.cost", "a whole number of ns");
  EXPECT_EQ(read(R"({"rate": "1.5 B/s"})").rate.value, 1.5);  // a rate need not be
}

TEST(ParamRules, BoundsHoldForBothForms) {
  EXPECT_EQ(read(R"({"cache_bytes": 10})").cache, Bytes{10});
  EXPECT_EQ(read(R"({"cache": "1 TB"})").cache, Bytes{1'000'000'000'000});
  expect_refused(R"({"cache_bytes": 9})", "found 9", "from 10 to 1000000000000 bytes");
  expect_refused(R"({"cache": "9 B"})", "found \"9 B\"", "from 10");
  expect_refused(R"({"cache": "1.1 TB"})", "found \"1.1 TB\"", "bytes");
  expect_refused(R"({"cache": "-1 GB"})", "found \"-1 GB\"");
  expect_refused(R"({"cache_bytes": 1e300})", "found 1e+300");
  expect_refused(R"({"cost": "1e9 min"})", "params.cost");  // beyond 64 bits
}

// ---- plain types ----

TEST(ParamRules, IntegersStayInsideTheirTypeEvenWithoutABound) {
  EXPECT_EQ(read(R"({"chunk_tokens": 4294967295})").chunk_tokens, 4'294'967'295u);
  expect_refused(R"({"chunk_tokens": 4294967296})", "found 4294967296", "4294967295 tokens");
  EXPECT_EQ(read(R"({"small": 255})").small, 255);
  expect_refused(R"({"small": 256})", "found 256", "255");
  EXPECT_EQ(read(R"({"shift": -5})").shift, -5);
  expect_refused(R"({"shift": -6})", "from -5 to 5");
  expect_refused(R"({"chunk_tokens": -1})", "found -1");
}

TEST(ParamRules, ListsAreReadElementByElement) {
  EXPECT_THAT(read(R"({"heads": [3, 1, 3]})").heads, ElementsAre(3, 1, 3));
  EXPECT_THAT(read(R"({"heads": []})").heads, ElementsAre());
  expect_refused(R"({"heads": 3})", "params.heads: found 3; expected a list");
  expect_refused(R"({"heads": [0, "one"]})", "params.heads[1]: found \"one\"");
  expect_refused(R"({"heads": [0, 1.5]})", "params.heads[1]: found 1.5");
  expect_refused(R"({"heads": [0, 1, 4294967297]})", "params.heads[2]: found 4294967297");  // 1, were it cut to 32 bits
}

TEST(ParamRules, ChoicesNameTheNearestAndAll) {
  EXPECT_EQ(read(R"({"fruit": "plum"})").fruit, Fruit::plum);
  expect_refused(R"({"fruit": "plumm"})",
                 "params.fruit: found \"plumm\"; did you mean plum? allowed: apple, pear, plum");
  expect_refused(R"({"fruit": "Plum!"})", "allowed: apple, pear, plum");
  expect_refused(R"({"fruit": 2})", "params.fruit: found 2; expected a string");
  EXPECT_EQ(read(R"({"mode": "slow"})").mode, "slow");
  expect_refused(R"({"mode": "slwo"})", "did you mean slow?");
}

TEST(ParamRules, BudgetsAreNumbersOrTextAndErrorsNameThePlace) {
  EXPECT_EQ(read(R"({"budget": 0.05})").budget, Budget(1, 20));
  EXPECT_EQ(read(R"({"budget": 1})").budget, Budget(1, 1));
  EXPECT_EQ(read(R"({"budget": 0.00001})").budget, Budget(1, 100'000));
  EXPECT_EQ(read(R"({"budget": "1/3"})").budget, Budget(1, 3));
  for (const char* text : {"0", "-0.1", "1.5", "1e-12", "\"0,05\"", "\"2\"", "\"\"", "true", "null", "[0.5]", "{}"}) {
    expect_refused(fmt::format(R"({{"budget": {}}})", text), "params.budget: ", "budget");
  }
}

TEST(ParamRules, BooleansAndNumbersAreNotGuessed) {
  for (const char* text : {"1", "0", "\"true\"", "null", "\"yes\""}) {
    expect_refused(fmt::format(R"({{"on": {}}})", text), "params.on", "true or false");
  }
  expect_refused(R"({"share": "0.5"})", "params.share: found \"0.5\"; expected a number");
  expect_refused(R"({"share": 1.0000001})", "from 0 to 1");
  expect_refused(R"({"share": -1e-9})", "from 0 to 1");
}

// ---- optional ones ----

TEST(ParamRules, NullMeansNoneOnlyWhereAParameterIsOptional) {
  Params some;
  some.limit = 7;
  some.staging = Bytes{8};
  some.spare = Fruit::plum;
  const Params none = read(R"({"limit": null, "staging_bytes": null, "spare": null})", some);
  EXPECT_FALSE(none.limit || none.staging || none.spare);
  const Params kept = read("{}", some);
  EXPECT_EQ(kept.limit, 7u);
  for (const char* key : {"cache_bytes", "fruit", "share", "title", "heads", "group", "chunk_tokens"}) {
    expect_refused(fmt::format(R"({{"{}": null}})", key), key, "found null");
  }
}

TEST(ParamRules, AnOptionalParameterIsCheckedLikeAnyOther) {
  EXPECT_EQ(read(R"({"limit": 50, "staging": "1 MB", "spare": "pear"})").staging, Bytes{1'000'000});
  expect_refused(R"({"limit": 51})", "from 1 to 50");
  expect_refused(R"({"limit": 0})", "from 1 to 50");
  expect_refused(R"({"spare": "x"})", "params.spare");
  expect_refused(R"({"staging": "1 MB", "staging_bytes": 3})", "both");
}

// ---- declarations ----

TEST(ParamRules, ADimensionalNameWithoutItsUnitIsOurMistake) {
  ParamTable<Params> t;
  t.add(&Params::cache, {.name = "cache", .doc = "d", .source = "s"});
  Params params;
  const Json json = parse_json(R"({"cache": "1 MB"})", "f.json");
  EXPECT_THROW(t.read(JsonValue(json, "f.json"), params), InvariantError);
}

TEST(ParamRules, NamesAreAllAcceptedKeysAndInfosAllParameters) {
  EXPECT_THAT(table().names(),
              ElementsAre("chunk_tokens", "cache_bytes", "cache", "cost_ns", "cost", "rate_bytes_per_s", "rate",
                          "peak_flops_per_s", "peak", "shift", "small", "share", "on", "fruit", "mode", "title",
                          "budget", "heads", "limit", "staging_bytes", "staging", "spare", "group"));
  std::vector<std::string> names, types;
  for (const ParamInfo& info : table().infos()) {
    names.push_back(info.name);
    types.push_back(info.type);
  }
  EXPECT_EQ(names.back(), "group.size_bytes");
  EXPECT_THAT(types, ElementsAre("integer", "bytes", "ns", "bytes_per_s", "flops_per_s", "integer", "integer", "number",
                                 "boolean", "choice", "choice", "string", "budget", "integer_list", "integer", "bytes",
                                 "choice", "choice", "bytes"));
}

// ---- the resolved configuration ----

TEST(ParamRules, WhatIsWrittenIsReadBackAsItself) {
  RandomStream random(2, 0, "params");
  for (int i = 0; i < 2000; ++i) {
    Params params;
    params.chunk_tokens = static_cast<std::uint32_t>(1 + random.below(1u << 31));
    params.cache = Bytes{10 + random.below(999'999'999'990)};
    params.cost = Nanoseconds{static_cast<std::int64_t>(random.below(9'000'000'000'000'000))};
    params.rate = BytesPerSecond{1 + random.uniform() * 1e12};
    params.share = random.uniform();
    params.on = random.below(2) == 0;
    params.fruit = static_cast<Fruit>(random.below(3));
    params.mode = random.below(2) == 0 ? "fast" : "slow";
    params.title = "\"\\ \n \xc3\xa9";
    params.budget = Budget::parse(fmt::format("{}/{}", 1 + random.below(1000), 1000 + random.below(100'000)));
    params.heads.assign(random.below(4), static_cast<int>(random.below(1000)));
    if (random.below(2) == 0) params.limit = 1 + random.below(50);
    if (random.below(2) == 0) params.staging = Bytes{random.below(1'000'000'000'000)};
    params.group.size = Bytes{1 + random.below(100)};
    const std::string written = table().write(params).dump();
    const Params again = read(written);
    ASSERT_EQ(table().write(again).dump(), written);
    ASSERT_EQ(again.rate.value, params.rate.value);
    ASSERT_EQ(again.budget, params.budget);
    ASSERT_EQ(again.limit, params.limit);
  }
}

TEST(ParamRules, EveryParameterIsWrittenInBaseUnits) {
  const Json json = table().write(read(R"({"cache": "1 MiB", "cost": "2 ms", "budget": 0.25})"));
  EXPECT_EQ(json.size(), 18u);
  EXPECT_EQ(json.at("cache_bytes"), 1 << 20);
  EXPECT_EQ(json.at("cost_ns"), 2'000'000);
  EXPECT_EQ(json.at("budget"), "0.25");
  EXPECT_EQ(json.at("limit"), nullptr);
  EXPECT_EQ(json.at("group").dump(), R"({"fruit":"pear","size_bytes":10})");
}

// ---- the schema ----

TEST(ParamSchema, SaysWhatReadingChecks) {
  Json properties = Json::object();
  for (const ParamInfo& info : table().infos()) add_to_schema(properties, info);
  EXPECT_EQ(properties.at("cache_bytes").dump(),
            R"({"description":"the cache","type":"integer","minimum":10.0,"maximum":1000000000000.0})");
  EXPECT_EQ(properties.at("cache").dump(), R"json({"type":"string","description":"the cache (with a unit)"})json");
  EXPECT_EQ(properties.at("rate_bytes_per_s").at("type"), "number");
  EXPECT_EQ(properties.at("on").at("type"), "boolean");
  EXPECT_EQ(properties.at("fruit").at("enum"), (Json{"apple", "pear", "plum"}));
  EXPECT_EQ(properties.at("mode").at("enum"), (Json{"fast", "slow"}));
  EXPECT_EQ(properties.at("heads").at("items").at("type"), "integer");
  EXPECT_EQ(properties.at("budget").at("oneOf").size(), 2u);
  EXPECT_FALSE(properties.contains("shif"));  // only dimensional names have a second form
}

TEST(ParamSchema, OptionalParametersMayBeNull) {
  Json properties = Json::object();
  for (const ParamInfo& info : table().infos()) add_to_schema(properties, info);
  EXPECT_EQ(properties.at("limit").at("type"), (Json{"integer", "null"}));
  EXPECT_EQ(properties.at("staging_bytes").at("type"), (Json{"integer", "null"}));
  EXPECT_EQ(properties.at("spare").at("enum"), (Json{"apple", "pear", "plum", nullptr}));
  EXPECT_EQ(properties.at("chunk_tokens").at("type"), "integer");
}

struct Limited {
  ChoiceOrCount<Fruit> limit;
};

ParamTable<Limited> limited() {
  ParamTable<Limited> t;
  t.add(&Limited::limit, {.name = "limit", .doc = "d", .source = "s", .unit = "tokens", .minimum = 1, .maximum = 100});
  return t;
}

ChoiceOrCount<Fruit> read_limit(const std::string& value) {
  const Json json = Json::parse("{\"limit\": " + value + "}");
  Limited params;
  limited().read(JsonValue(json, "f.json"), params);
  return params.limit;
}

TEST(ChoiceOrCountParam, TakesANameOrANumber) {
  EXPECT_EQ(read_limit("\"plum\"").choice, Fruit::plum);
  EXPECT_FALSE(read_limit("\"plum\"").count);
  EXPECT_EQ(read_limit("1").count, 1u);
  EXPECT_EQ(read_limit("100").count, 100u);
  EXPECT_EQ(read_limit("1e2").count, 100u);
  for (const char* value : {"\"plum\"", "7"}) {
    Limited params{read_limit(value)};
    EXPECT_EQ(limited().write(params)["limit"].dump(), value) << "what is written reads the same";
  }
}

TEST(ChoiceOrCountParam, RefusesAnythingElseWithBothForms) {
  for (const char* value : {"0", "101", "1.5", "-1", "\"7\"", "\"cherry\"", "null", "true", "[1]"}) {
    EXPECT_THAT([=] { read_limit(value); }, ThrowsMessage<ConfigError>(HasSubstr("f.json: limit: found"))) << value;
  }
  EXPECT_THAT([] { read_limit("\"7\""); },
              ThrowsMessage<ConfigError>(HasSubstr("\"apple\", \"pear\", \"plum\" or a whole number from 1 to 100")));
}

TEST(ChoiceOrCountParam, IsEitherInTheSchema) {
  Json properties;
  add_to_schema(properties, limited().infos().front());
  EXPECT_EQ(properties["limit"]["oneOf"][0]["enum"], (Json{"apple", "pear", "plum"}));
  EXPECT_EQ(properties["limit"]["oneOf"][1]["type"], "integer");
}

}  // namespace
}  // namespace reprefill
