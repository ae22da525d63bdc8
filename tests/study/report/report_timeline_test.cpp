// Time lines of a report: which points, which spans, and that a point is simulated as it was.
#include "study/report/report_timeline.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/simulation/run_point.hpp"

namespace reprefill::study {
namespace {

using record::Operation;
using record::Resource;
using record::Span;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Span span(Operation operation, Resource resource, std::uint32_t request, std::int64_t start, std::int64_t end) {
  return {.operation = operation,
          .resource = resource,
          .request = request,
          .layer_idx = 3,
          .bytes = Bytes{4096},
          .issued = Nanoseconds{start - 2},
          .ready = Nanoseconds{start - 1},
          .start = Nanoseconds{start},
          .end = Nanoseconds{end},
          .queued_behind_other = false};
}
Span first_token(std::uint32_t request, std::int64_t at) {
  return span(Operation::first_token, Resource::gpu_compute, request, at, at + 1);
}

TEST(ReportTimeline, SlicesOfAResourceThatOverlapGetLanesOfTheirOwn) {
  const std::vector<Span> spans = {span(Operation::read, Resource::ssd_demand, 0, 110, 120),
                                   span(Operation::read, Resource::ssd_demand, 0, 100, 115),
                                   span(Operation::read, Resource::ssd_demand, 0, 115, 130), first_token(0, 130)};
  const Json timeline = timeline_columns(spans, {});
  // gpu_compute comes before the SSD in the order of resources, though it began last.
  EXPECT_EQ(timeline["lanes"], Json({"gpu_compute", "ssd_demand", "ssd_demand #2"}));
  EXPECT_EQ(timeline["lane"], Json({1, 2, 1, 0}));
  EXPECT_EQ(timeline["start_ns"], Json({0, 10, 15, 30}));
  EXPECT_EQ(timeline["length_ns"], Json({15, 10, 15, 1}));
  EXPECT_EQ(timeline["wait_ns"], Json({1, 1, 1, 1}));
  EXPECT_EQ(timeline["names"], Json({"read", "first_token"}));
  EXPECT_EQ(timeline["name"], Json({0, 0, 0, 1}));
}

TEST(ReportTimeline, ShowsTheFirstRequestsThatReachATokenAndSaysWhatItLeavesOut) {
  const std::vector<Span> spans = {span(Operation::cache_update, Resource::host, 1, 0, 5), first_token(7, 10),
                                   first_token(8, 20), first_token(9, 30)};
  const Json two = timeline_columns(spans, {.num_requests = 2, .num_spans = 100});
  EXPECT_EQ(two["request"], Json({7, 8}));
  EXPECT_EQ(two["left_out"], 0);
  const Json one = timeline_columns(spans, {.num_requests = 2, .num_spans = 1});
  EXPECT_EQ(one["request"], Json({7}));
  EXPECT_EQ(one["left_out"], 1);
}

TEST(ReportTimeline, NoSpansGiveAnEmptyOne) {
  const Json timeline = timeline_columns({}, {});
  EXPECT_TRUE(timeline["lanes"].empty());
  EXPECT_TRUE(timeline["lane"].empty());
}

Json row(std::size_t point, const char* label, const char* path, Json ttft_ms, const char* verdict = "STABLE") {
  return {{"point", point},
          {"label", label},
          {"software_path", path},
          {"verdict", verdict},
          {"ttft", {{"mean_ttft_ms", std::move(ttft_ms)}}}};
}

TEST(ReportTimeline, ChoosesTheFastestOfEachSystemAndPathThatIsNotBacklogged) {
  ResultSet result;
  result.rows = {row(0, "a", "direct", 5),       row(1, "a", "direct", 3),    row(2, "a", "direct", 1, "BACKLOGGED"),
                 row(3, "b", "direct", nullptr), row(4, "a", "prototype", 9), row(5, "a", "direct", 3)};
  EXPECT_THAT(fastest_points(result, 16), ElementsAre(1, 4));
  EXPECT_THAT(fastest_points(result, 1), ElementsAre(1));
  EXPECT_THAT(fastest_points(ResultSet{}, 16), IsEmpty());
}

class SimulatedAgain : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path source = REPREFILL_SOURCE_DIR;
    context_ = {.models = source / "scenarios" / "models",
                .profiles = source / "calibrate" / "profiles",
                .traces = {},
                .samples = source / "traces" / "samples"};
    const Json json = {{"name", "again"},
                       {"model", "qwen2.5-0.5b"},
                       {"profile", "a800-990pro"},
                       {"systems", {"contiguous_kv"}},
                       {"workload",
                        {{"kind", "prefix_pool"},
                         {"prefix_tokens", 500},
                         {"suffix_tokens", 10},
                         {"num_prefixes", 3},
                         {"warmup_requests", 2},
                         {"measured_requests", 5}}},
                       {"mass_requests", 1}};
    const sim::Scenario scenario = sim::read_scenario(json, "test", {}, context_);
    sim::SharedInputs inputs(context_);
    result_.folder = "results";
    result_.resolved = {{"scenario", scenario.resolved}};
    result_.rows = {sim::run_point(scenario.points[0], inputs, {.num_warmup = 2}).row};
  }
  std::string refusal() const {
    try {
      simulate_timelines(result_, {0}, context_, {});
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }
  sim::ScenarioContext context_;
  ResultSet result_;
};

TEST_F(SimulatedAgain, GivesTheTimeOfItsRow) {
  const Json timelines = simulate_timelines(result_, {0}, context_, {.num_requests = 100, .num_spans = 1'000'000});
  ASSERT_EQ(timelines.size(), 1u);
  EXPECT_EQ(timelines[0]["point"], 0);
  // One request in flight: the requests' first tokens end the time line, which is as long as their TTFTs together
  // and what the host does between them.
  const Json& timeline = timelines[0];
  std::int64_t last = 0;
  int tokens = 0;
  for (std::size_t i = 0; i < timeline["name"].size(); ++i) {
    if (timeline["names"][timeline["name"][i].get<std::size_t>()] != "first_token") continue;
    ++tokens;
    last = std::max(last, timeline["start_ns"][i].get<std::int64_t>() + timeline["length_ns"][i].get<std::int64_t>());
  }
  EXPECT_EQ(tokens, 5);
  EXPECT_GE(static_cast<double>(last), 0.99e6 * 5 * result_.rows[0]["ttft"]["mean_ttft_ms"].get<double>());
}

TEST_F(SimulatedAgain, RefusesARowThatOtherInputsMade) {
  result_.rows[0]["inputs"] = "0000000000000000";
  EXPECT_THAT(refusal(), HasSubstr("would not give its row again"));
}

TEST_F(SimulatedAgain, RefusesAPointThatIsNotThere) {
  result_.rows[0]["point"] = 1;
  EXPECT_THAT(refusal(), HasSubstr("--timeline: found 0"));
  result_.resolved = nullptr;
  EXPECT_THAT(refusal(), HasSubstr("scenario"));
}

}  // namespace
}  // namespace reprefill::study
