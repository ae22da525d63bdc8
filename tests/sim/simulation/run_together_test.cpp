// Runs over the same importance share what they choose; what comes out is what each gives alone.
#include <gmock/gmock.h>

#include "sim/shared_selections.hpp"
#include "tests/sim/simulation/one_point.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::sim {
namespace {

using testing::Eq;
using testing::Gt;

Scenario scenario_of(Json json, const ScenarioContext& context) {
  return read_scenario(json, "test.json", {}, context);
}

void expect_rows_as_alone(const Json& json, std::uint64_t num_warmup) {
  const ScenarioContext shipped = context();
  SharedInputs inputs(shipped);
  const Scenario scenario = scenario_of(json, shipped);
  ASSERT_THAT(scenario.points.size(), Gt(1u));
  std::vector<RunMember> members;
  for (const Point& point : scenario.points) members.push_back({&point, {.num_warmup = num_warmup}});
  const std::vector<RunResult> together = run_together(members, inputs);
  ASSERT_EQ(together.size(), members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const RunResult alone = run_point(*members[i].point, inputs, members[i].options);
    EXPECT_EQ(together[i].row, alone.row) << members[i].point->label << " " << members[i].point->axes;
    EXPECT_EQ(together[i].num_events, alone.num_events);
  }
}

TEST(RunTogether, GivesEveryPointTheRowThatItHasAlone) {
  for (const char* system : {"as_h2o", "impress"}) {
    Json json = pool_scenario(system);
    json["axes"] = {{"software_path", {"prototype", "direct"}}, {"budget", {0.05, 0.25}}};
    json["zipped_axes"] = Json::array({{{"gpu_cache", {"1 MB", "8 MB"}}, {"host_cache", {"2 MB", "16 MB"}}}});
    json["noise"] = true;
    expect_rows_as_alone(json, 3);
  }
}

TEST(RunTogether, GivesOtherSystemsAndOpenArrivalsTheirRowsToo) {
  Json json = pool_scenario("as_h2o");
  json["systems"] = {"recompute", "as_h2o", "impress", "contiguous_kv", "attention_store"};
  json["axes"] = {{"budget", Json::array({0.1})}};
  json["workload"]["arrivals"] = "poisson";
  json["workload"]["rate_per_s"] = 20;
  json["workload"]["in_flight"] = 2;
  expect_rows_as_alone(json, 0);
  Json trace = trace_scenario("impress");
  trace["axes"] = {{"software_path", {"prototype", "direct"}}, {"similarity_exponent", {0.2, 0.6}}};
  expect_rows_as_alone(trace, 0);
}

class Selections : public testing::Test {
 protected:
  SelectionQuestion question(std::uint64_t request, std::uint64_t k) const {
    return {.importance = &importance_,
            .query = {.request = request, .task = 1, .prefix = prefix_, .layer_idx = 2},
            .unit_tokens = 1,
            .rule = {.k = k}};
  }

  traces::SyntheticImportance importance_{traces::importance_preset("paper-5pct", "test").params, {}, 7};
  std::vector<SegmentSpan> prefix_ = {{SegmentId{4}, 640}};
};

TEST_F(Selections, OfEqualQuestionsAreDrawnOnce) {
  SharedSelections selections(SharedSelections::Keep::selections);
  const auto first = selections.choose(question(1, 32)), again = selections.choose(question(1, 32));
  EXPECT_EQ(first, again) << "the same object";
  EXPECT_EQ(first->groups, choose(question(1, 32)).groups);
  EXPECT_THAT(selections.num_drawn(), Eq(1u));
}

TEST_F(Selections, OfOtherRequestsRulesPrefixesAndTasksAreNotShared) {
  SharedSelections selections(SharedSelections::Keep::selections);
  selections.choose(question(1, 32));
  std::vector<SegmentSpan> shorter = {{SegmentId{4}, 576}};
  std::vector<SelectionQuestion> others = {question(2, 32), question(1, 33), question(1, 32), question(1, 32)};
  others[2].query.prefix = shorter;
  others[3].query.task = 9;
  for (const SelectionQuestion& other : others) EXPECT_EQ(selections.choose(other)->groups, choose(other).groups);
  EXPECT_THAT(selections.num_drawn(), Eq(5u));
}

TEST_F(Selections, ByOtherRulesComeFromScoresThatAreKept) {
  SharedSelections selections(SharedSelections::Keep::scores_too);
  for (const std::uint64_t k : {32, 64, 320}) {
    EXPECT_EQ(selections.choose(question(1, k))->groups, choose(question(1, k)).groups);
  }
  EXPECT_THAT(selections.num_drawn(), Eq(1u));
}

TEST_F(Selections, BeyondTheLimitTheOldestAreDrawnAgain) {
  constexpr Bytes kLimit{10'000};
  SharedSelections selections(SharedSelections::Keep::selections, kLimit);
  for (std::uint64_t request = 0; request < 100; ++request) {
    selections.choose(question(request, 64));
    EXPECT_LE(selections.size(), kLimit);
  }
  selections.choose(question(99, 64));
  EXPECT_THAT(selections.num_drawn(), Eq(100u)) << "the newest is still there";
  EXPECT_EQ(selections.choose(question(0, 64))->groups, choose(question(0, 64)).groups);
  EXPECT_THAT(selections.num_drawn(), Eq(101u));
}

}  // namespace
}  // namespace reprefill::sim
