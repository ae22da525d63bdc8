#include "core/cache/eviction/registry.hpp"

#include <gmock/gmock.h>

#include <set>

namespace reprefill::cache {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(EvictionRegistry, EveryRowIsDocumentedAndMakesAPolicy) {
  std::set<std::string> names;
  for (const PolicyInfo& policy : eviction_policies()) {
    names.insert(policy.name);
    EXPECT_FALSE(policy.doc.empty());
    EXPECT_FALSE(policy.source.empty());
    for (const ParamInfo& info : policy.parameters) EXPECT_FALSE(info.doc.empty() || info.source.empty()) << info.name;
    EXPECT_NE(make_eviction_policy(policy.name), nullptr);
  }
  EXPECT_EQ(names, (std::set<std::string>{"lru", "lfu", "s3_fifo", "arc", "importance_frequency", "attention_guided"}));
}

TEST(EvictionRegistry, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const Json json = {{"policy", "lfru"}};
  const JsonValue scenario(json, "scenario.json");
  EXPECT_THAT([&] { read_eviction_policy(scenario.key("policy")); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("scenario.json"), HasSubstr("policy"), HasSubstr("lfru"),
                                               HasSubstr("attention_guided"))));
}

TEST(EvictionRegistry, AKnownNameIsFound) {
  const Json json = "lru";
  EXPECT_EQ(read_eviction_policy(JsonValue(json, "scenario.json")).name, "lru");
  EXPECT_EQ(find_eviction_policy("fifo"), nullptr);
  EXPECT_THROW(make_eviction_policy("fifo"), InvariantError);
}

TEST(EvictionRegistry, AnUnknownParameterIsRefused) {
  const Json json = {{"score_table_entires", 5}};
  EXPECT_THAT([&] { make_eviction_policy("lfu", JsonValue(json, "scenario.json")); },
              ThrowsMessage<ConfigError>(HasSubstr("score_table_entries")));
  EXPECT_THROW(make_eviction_policy("lru", JsonValue(json, "scenario.json")), ConfigError);
}

TEST(EvictionRegistry, AParameterOutOfRangeIsRefused) {
  const Json zero = {{"score_table_entries", 0}};
  EXPECT_THROW(make_eviction_policy("attention_guided", JsonValue(zero, "s")), ConfigError);
  const Json heavy = {{"share_weight", 1.5}};
  EXPECT_THROW(make_eviction_policy("importance_frequency", JsonValue(heavy, "s")), ConfigError);
}

TEST(EvictionRegistry, ResolvingFillsInTheDefaults) {
  const Json json = {{"share_weight", 0.25}};
  const Json resolved = find_eviction_policy("importance_frequency")->resolve(JsonValue(json, "s"));
  EXPECT_EQ(resolved,
            (Json{{"share_average", "running_mean"}, {"share_weight", 0.25}, {"score_table_entries", 4194304}}));
}

}  // namespace
}  // namespace reprefill::cache
