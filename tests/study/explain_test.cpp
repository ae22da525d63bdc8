// `explain` on small requests: what it says must be what the machine did.
#include "study/explain/explain_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "sim/scenario/scenario.hpp"

namespace reprefill::study {
namespace {

using testing::HasSubstr;

class Explain : public testing::Test {
 protected:
  Explain() {
    const std::filesystem::path source = REPREFILL_SOURCE_DIR;
    context_ = {
        .models = source / "scenarios/models", .profiles = source / "calibrate/profiles", .traces = {}, .samples = {}};
    json_ = {{"name", "small"},
             {"model", "qwen2.5-0.5b"},
             {"profile", "a800-990pro"},
             {"software_path", "prototype"},
             {"systems", {"recompute", "attention_store", "impress", "contiguous_kv"}},
             {"workload",
              {{"kind", "prefix_pool"},
               {"prefix_tokens", 1024},
               {"suffix_tokens", 32},
               {"order", "distinct"},
               {"warmup_requests", 0},
               {"measured_requests", 3}}},
             {"axes", {{"budget", {0.05, 0.25}}}}};
  }
  Explanation explained(const ExplainOptions& options = {}) {
    const sim::Scenario scenario = sim::read_scenario(json_, "small.json", {}, context_);
    sim::SharedInputs inputs(context_);
    const std::atomic<bool> interrupted{false};
    return explain(scenario, inputs, options, interrupted);
  }
  static Nanoseconds ttft_of(const Explanation& explanation, const std::string& change) {
    for (const ChangeResult& result : explanation.changes) {
      if (result.what_if.name == change) return result.ttft;
    }
    ADD_FAILURE() << "no change " << change;
    return Nanoseconds{0};
  }

  sim::ScenarioContext context_;
  Json json_;
};

TEST_F(Explain, ThePathOfEverySystemTilesItsTtft) {
  const Explanation explanation = explained();
  EXPECT_EQ(explanation.served.point.label, "contiguous_kv");
  ASSERT_EQ(explanation.others.size(), 3u);
  std::vector<const ServedRequest*> all = {&explanation.served};
  for (const ServedRequest& other : explanation.others) all.push_back(&other);
  for (const ServedRequest* served : all) {
    Nanoseconds sum{0};
    for (const PathPart& part : path_parts(*served)) sum += part.time;
    EXPECT_EQ(sum, served->ttft()) << served->point.label;
    EXPECT_EQ(served->time.total(), served->ttft()) << served->point.label;
    // One request at a time: every wait has an own operation behind it.
    for (const record::PathStep& step : served->path) {
      EXPECT_NE(step.kind, record::PathStep::Kind::gap) << served->point.label << " at " << step.from.value;
      EXPECT_NE(step.kind, record::PathStep::Kind::admission);
    }
  }
}

TEST_F(Explain, TheRequestIsTheOneThatASweepMeasures) {
  json_["systems"] = {"contiguous_kv"};
  json_["axes"] = {{"budget", {0.05}}};
  json_["workload"]["order"] = "random";
  json_["workload"]["num_prefixes"] = 3;
  json_["workload"]["warmup_requests"] = 2;
  const sim::Scenario scenario = sim::read_scenario(json_, "small.json", {}, context_);
  sim::SharedInputs inputs(context_);
  const sim::RunResult run = sim::run_point(scenario.points.front(), inputs, {.num_warmup = 2});
  double sum_ms = 0;
  for (std::uint64_t request = 0; request < 3; ++request) {
    sum_ms += to_milliseconds(explained({.request = request}).served.ttft());
  }
  EXPECT_DOUBLE_EQ(run.row.at("ttft").at("mean_ttft_ms").get<double>(), sum_ms / 3);
}

TEST_F(Explain, ComparesSystemsAtTheSameSettings) {
  const Explanation explanation = explained({.point = 5});  // contiguous_kv, 0.25
  EXPECT_EQ(explanation.served.point.axes.at("budget"), 0.25);
  for (const ServedRequest& other : explanation.others) {
    const Json& budget = other.point.axes.at("budget");
    EXPECT_TRUE(budget.is_null() || budget == 0.25) << other.point.label;
  }
}

TEST_F(Explain, TheBoundsAreWhatTheyPromise) {
  for (const char* system : {"contiguous_kv", "attention_store"}) {
    const Explanation explanation = explained({.system = system});
    const Nanoseconds now = explanation.served.ttft();
    for (const ChangeResult& change : explanation.changes) EXPECT_LE(change.ttft, now) << change.what_if.name;
    EXPECT_LE(ttft_of(explanation, "ssd_free"), ttft_of(explanation, "ssd_twice_as_fast"));
    EXPECT_LE(ttft_of(explanation, "link_free"), ttft_of(explanation, "link_twice_as_fast"));
    EXPECT_LE(ttft_of(explanation, "gpu_free"), ttft_of(explanation, "gpu_twice_as_fast"));
    // 40 ms are charged before the first operation: without them exactly that much less.
    EXPECT_EQ(now - ttft_of(explanation, "no_framework_time"), Nanoseconds{40'000'000});
    // Serial reads of one object each: the drive's fixed cost is the wait.
    EXPECT_LT(ttft_of(explanation, "no_object_cost").value, now.value - now.value / 10);
  }
}

TEST_F(Explain, ThePathKindDecidesWhichChangesThereAre) {
  json_["software_path"] = "direct";
  for (const ChangeResult& change : explained().changes) {
    EXPECT_NE(change.what_if.name, "direct_path");
    EXPECT_NE(change.what_if.name, "no_framework_time");
  }
}

TEST_F(Explain, SaysWhatContiguousKvGainsAndWhere) {
  const Explanation explanation = explained();
  const std::string text = explanation_text(explanation);
  for (const char* expected :
       {"contiguous_kv gains", "over attention_store", "over impress", "ms in ssd: it asks the drive for",
        "on the critical path", "What would have to change", "The floor", "The profile is hypothetical"}) {
    EXPECT_THAT(text, HasSubstr(expected));
  }
  const Json json = explanation_json(explanation, /*steps=*/true);
  for (const Json& other : json.at("others")) {
    double sum = 0;
    for (const auto& [time_class, gain] : other.at("gain_by_class_ms").items()) sum += gain.get<double>();
    EXPECT_NEAR(sum, other.at("gain_ms").get<double>(), 1e-6) << other.at("label");
  }
  EXPECT_EQ(json.at("served").at("steps").back().at("to_ns"), explanation.served.ttft().value);
}

TEST_F(Explain, RefusesWhatIsNotThere) {
  EXPECT_THAT([&] { explained({.point = 99}); },
              testing::ThrowsMessage<ConfigError>(HasSubstr("--point: found 99; small has points 0 to 5")));
  EXPECT_THAT([&] { explained({.system = "impres"}); },
              testing::ThrowsMessage<ConfigError>(HasSubstr("did you mean impress?")));
  EXPECT_THAT([&] { explained({.request = 3}); },
              testing::ThrowsMessage<ConfigError>(HasSubstr("--request: found 3; the run measures requests 0 to 2")));
}

TEST_F(Explain, ManyRequestsInFlightTileToo) {
  json_["workload"]["in_flight"] = 4;
  json_["workload"]["measured_requests"] = 12;
  json_["workload"]["num_prefixes"] = 4;
  json_["workload"]["order"] = "interleaved";
  for (const char* system : {"contiguous_kv", "attention_store", "impress", "recompute"}) {
    const Explanation explanation = explained({.system = system, .request = 9});
    Nanoseconds sum{0};
    for (const PathPart& part : path_parts(explanation.served)) sum += part.time;
    EXPECT_EQ(sum, explanation.served.ttft()) << system;
  }
}

}  // namespace
}  // namespace reprefill::study
