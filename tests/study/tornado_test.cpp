// The tornado on small scenarios: each reading is the run that a user would start by hand.
#include "study/tornado/tornado.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "tests/support/temporary_folder.hpp"

namespace reprefill::study {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class TornadoTest : public testing::Test {
 protected:
  TornadoTest() {
    const std::filesystem::path source = REPREFILL_SOURCE_DIR;
    context_ = {
        .models = source / "scenarios/models", .profiles = source / "calibrate/profiles", .traces = {}, .samples = {}};
    json_ = {{"name", "small"},
             {"model", "qwen2.5-0.5b"},
             {"profile", "a800-990pro"},
             {"systems", {"impress", {{"name", "contiguous_kv"}, {"axes", {{"chunk_tokens", {16, 32}}}}}}},
             {"workload",
              {{"kind", "prefix_pool"},
               {"prefix_tokens", 1024},
               {"order", "distinct"},
               {"warmup_requests", 0},
               {"measured_requests", 3}}},
             {"axes", {{"software_path", {"prototype", "direct"}}, {"budget", {0.1}}}},
             {"repeats", 2}};
  }
  std::filesystem::path file(const Json& json) {
    test_support::write_text(folder_ / "small.json", json.dump());
    return folder_ / "small.json";
  }
  Tornado run(const std::vector<Assumption>& assumptions, const TornadoOptions& options = {}) {
    const std::atomic<bool> interrupted{false};
    return tornado(file(json_), {}, assumptions, options, context_, interrupted);
  }
  /// Mean TTFT of one system, as a sweep of a scenario without axes gives it.
  double by_hand(const char* label, const std::function<void(Json&)>& edit) {
    Json json = json_;
    json.erase("axes");
    json.erase("repeats");
    json["software_path"] = {{"kind", "prototype"}};
    json["systems"] = Json::array();
    for (const char* name : {"contiguous_kv", "impress"}) {
      json["systems"].push_back({{"name", name}, {"params", {{"budget", 0.1}}}});
    }
    edit(json);
    const sim::Scenario scenario = sim::read_scenario(json, "hand", {}, context_);
    sim::SharedInputs inputs(context_);
    for (const sim::Point& point : scenario.points) {
      if (point.label == label) {
        return sim::run_point(point, inputs, {}).row.at("ttft").at("mean_ttft_ms").get<double>();
      }
    }
    return 0;
  }
  test_support::TemporaryFolder folder_;
  sim::ScenarioContext context_;
  Json json_;
};

Assumption varied(const char* path, std::vector<Json> values, std::vector<std::string> only = {}) {
  return {.id = "A", .what = "w", .path = path, .values = std::move(values), .only = std::move(only), .not_varied = ""};
}

TEST_F(TornadoTest, EveryReadingIsTheRunThatOneWouldStartByHand) {
  const Tornado result =
      run({varied("software_path.object_fixed_cost_ns", {170000}), varied("budget", {0.5}),
           varied("similarity_exponent", {0.4}, {"impress"}), varied("workload.suffix_tokens", {128})},
          {.over = "impress"});
  EXPECT_EQ(result.base.ttft_ms, by_hand("contiguous_kv", [](Json&) {}));
  EXPECT_EQ(result.base.over_ms, by_hand("impress", [](Json&) {}));
  ASSERT_EQ(result.bars.size(), 4u);
  for (const TornadoBar& bar : result.bars) {
    const auto edit = [&](Json& json) {
      const std::string& path = bar.assumption.path;
      if (path == "budget") {
        for (Json& system : json["systems"]) system["params"]["budget"] = 0.5;
      } else if (path == "similarity_exponent") {
        json["systems"][1]["params"]["similarity_exponent"] = 0.4;
      } else if (path == "workload.suffix_tokens") {
        json["workload"]["suffix_tokens"] = 128;
      } else {
        json["software_path"]["object_fixed_cost_ns"] = 170000;
      }
    };
    ASSERT_EQ(bar.readings.size(), 1u);
    EXPECT_EQ(bar.readings[0].run.ttft_ms, by_hand("contiguous_kv", edit)) << bar.assumption.path;
    EXPECT_EQ(bar.readings[0].run.over_ms, by_hand("impress", edit)) << bar.assumption.path;
  }
}

TEST_F(TornadoTest, TheWidestBarComesFirstAndWhatChangesNothingLast) {
  const Tornado result = run({varied("software_path.object_fixed_cost_ns", {85000}),
                              varied("software_path.compute_overhead_per_request_ns", {39000000, 90000000})});
  ASSERT_EQ(result.bars.size(), 2u);
  EXPECT_EQ(result.bars[0].readings.size(), 2u);
  EXPECT_NEAR(result.bars[0].swing, 50 / result.base.ttft_ms, 1e-9);  // 50 ms more, additive
  EXPECT_EQ(result.bars[1].swing, 0);                                 // 85 us is the default
  EXPECT_EQ(result.base.over_ms, 0);
}

TEST_F(TornadoTest, WhatDoesNotApplyIsSaidNotTried) {
  Assumption fixed{
      .id = "A22", .what = "accuracy", .path = "", .values = {}, .only = {}, .not_varied = "not simulated"};
  const Tornado result = run({fixed, varied("lookahead_layers", {0}, {"attention_store"}),
                              varied("workload.no_such_key", {1}), varied("subperiod_layers", {2, 1000})});
  EXPECT_TRUE(result.bars.empty());
  ASSERT_EQ(result.not_varied.size(), 4u);
  EXPECT_EQ(result.not_varied[0].not_varied, "not simulated");
  EXPECT_EQ(result.not_varied[1].not_varied, "concerns neither system");
  EXPECT_THAT(result.not_varied[2].not_varied, HasSubstr("no_such_key"));
  EXPECT_THAT(result.not_varied[3].not_varied, HasSubstr("subperiod_layers"));
}

TEST_F(TornadoTest, AnUnknownSystemIsRefused) {
  EXPECT_THAT([&] { run({}, {.over = "impres"}); }, ThrowsMessage<ConfigError>(HasSubstr("did you mean impress?")));
}

TEST(Assumptions, TheShippedFileNamesAllTwentyFour) {
  const Json json = read_json_file(std::filesystem::path(REPREFILL_SOURCE_DIR) / "study/tornado/assumptions.json");
  std::set<std::string> ids;
  for (const Assumption& assumption : read_assumptions(JsonValue(json, "assumptions.json"))) ids.insert(assumption.id);
  for (int i = 1; i <= 24; ++i) EXPECT_TRUE(ids.contains(fmt::format("A{}", i))) << i;
}

TEST(Assumptions, BadFilesAreRefusedWithTheirPlace) {
  const auto error_of = [](const Json& entry) {
    const Json json = {{"schema_version", 1}, {"assumptions", {entry}}};
    try {
      read_assumptions(JsonValue(json, "a.json"));
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_THAT(error_of({{"id", "A1"}, {"what", "w"}, {"set", "x"}, {"values", Json::array()}}), HasSubstr("values"));
  EXPECT_THAT(error_of({{"id", "A1"}, {"what", "w"}}), HasSubstr("set"));
  EXPECT_THAT(error_of({{"id", 1}, {"what", "w"}}), HasSubstr("id"));
  EXPECT_THAT(error_of({{"id", "A1"}, {"what", "w"}, {"typo", 1}}), HasSubstr("typo"));
}

}  // namespace
}  // namespace reprefill::study
