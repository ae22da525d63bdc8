// Means over replicas and the table, from rows made by hand.
#include "sim/sweep/summary.hpp"

#include <gmock/gmock.h>

namespace reprefill::sim {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Json row(const char* label, double mean_ttft_ms, std::optional<double> p95_ttft_ms, bool timing_dependent = false,
         const char* verdict = "STABLE") {
  Json ttft = {{"mean_ttft_ms", mean_ttft_ms}, {"median_ttft_ms", mean_ttft_ms}, {"p95_ttft_ms", nullptr}};
  if (p95_ttft_ms) {
    ttft["p95_ttft_ms"] = *p95_ttft_ms;
  } else {
    ttft["p95_note"] = "not given";
  }
  return {{"label", label},
          {"system", label},
          {"axes", {{"budget", 0.05}}},
          {"model", "m"},
          {"profile", "p"},
          {"profile_kind", "hypothetical"},
          {"software_path", "direct"},
          {"bottleneck", "ssd"},
          {"timing_dependent", timing_dependent},
          {"verdict", verdict},
          {"ttft", ttft},
          {"workload", {{"measured_requests", 10}}},
          {"bytes_per_request", {{"requested_bytes", 2e6}}}};
}

TEST(SummariseReplicas, AveragesOverReplicasInTheOrderOfPoints) {
  const std::vector<Json> settings = summarise_replicas({row("b", 10, 20), row("a", 1, 2), row("b", 30, 60)});
  ASSERT_EQ(settings.size(), 2u);
  EXPECT_EQ(settings[0]["label"], "b");
  EXPECT_EQ(settings[0]["replicas"], 2);
  EXPECT_EQ(settings[0]["mean_ttft_ms"], 20.0);
  EXPECT_EQ(settings[0]["p95_ttft_ms"], 40.0);
  EXPECT_TRUE(settings[0]["prefetch_precision"].is_null()) << "in no row";
  EXPECT_EQ(settings[1]["replicas"], 1);
}

TEST(SummariseReplicas, WithoutAP95SayWhy) {
  const Json without = summarise_replicas({row("a", 1, std::nullopt)}).front();
  EXPECT_TRUE(without.at("p95_ttft_ms").is_null());
  EXPECT_EQ(without["p95_note"], "not given");
  EXPECT_FALSE(summarise_replicas({row("a", 1, 2)}).front().contains("p95_note"));
}

TEST(SummariseReplicas, KeepTheFlagOfTiming) {
  EXPECT_EQ(summarise_replicas({row("a", 1, 2, true)}).front()["timing_dependent"], true);
  EXPECT_EQ(summarise_replicas({row("a", 1, 2, false)}).front()["timing_dependent"], false);
}

TEST(SummariseReplicas, GivesAnIntervalFromThreeReplicasAndOfTailsFromTen) {
  std::vector<Json> rows = {row("a", 10, 20), row("a", 12, 21)};
  EXPECT_FALSE(summarise_replicas(rows)[0].contains("mean_ttft_ms_ci95"));
  rows.push_back(row("a", 14, 25));
  const Json three = summarise_replicas(rows)[0];
  ASSERT_TRUE(three.contains("mean_ttft_ms_ci95"));
  EXPECT_GE(three["mean_ttft_ms_ci95"][0].get<double>(), 10);
  EXPECT_LT(three["mean_ttft_ms_ci95"][0].get<double>(), 12);
  EXPECT_GT(three["mean_ttft_ms_ci95"][1].get<double>(), 12);
  EXPECT_LE(three["mean_ttft_ms_ci95"][1].get<double>(), 14);
  EXPECT_FALSE(three.contains("p95_ttft_ms_ci95"));
  while (rows.size() < 10) rows.push_back(row("a", 11, 22));
  EXPECT_TRUE(summarise_replicas(rows)[0].contains("p95_ttft_ms_ci95"));
  EXPECT_THAT(result_table(rows, {}, TableForm::text), HasSubstr("95 % CI"));
}

TEST(SummariseReplicas, AveragesTheShareThatMetEachObjective) {
  std::vector<Json> rows = {row("a", 10, 20), row("a", 12, 21)};
  rows[0]["slo_attainment"] = {{"5_ms", 0.5}, {"100_ms", 1.0}};
  rows[1]["slo_attainment"] = {{"5_ms", 0.25}, {"100_ms", 1.0}};
  const Json setting = summarise_replicas(rows)[0];
  EXPECT_EQ(setting["slo_attainment"].dump(), R"({"5_ms":0.375,"100_ms":1.0})");
  EXPECT_THAT(result_table(rows, {}, TableForm::text), AllOf(HasSubstr("in 5 ms %"), HasSubstr("37.5")));
}

TEST(ResultTable, HasAP95ColumnOnlyWhereARowHasOne) {
  const auto table = [](const std::vector<Json>& rows) { return result_table(rows, {"budget"}, TableForm::text); };
  EXPECT_THAT(table({row("a", 1, std::nullopt), row("b", 2, std::nullopt)}), Not(HasSubstr("P95")));
  EXPECT_THAT(table({row("a", 1, std::nullopt), row("b", 2, 3.25)}), AllOf(HasSubstr("P95 ms"), HasSubstr("3.2")));
}

TEST(ResultTable, MarksWhatDependsOnTimingAndWhatIsBacklogged) {
  const auto line = [](const Json& one) { return result_table({one}, {}, TableForm::markdown); };
  EXPECT_THAT(line(row("a", 7.5, 9)), AllOf(HasSubstr("7.5"), Not(HasSubstr("~")), Not(HasSubstr("!"))));
  EXPECT_THAT(line(row("a", 7.5, 9, true)), AllOf(HasSubstr("7.5 ~"), Not(HasSubstr("!"))));
  EXPECT_THAT(line(row("a", 7.5, 9, true, "BACKLOGGED")), HasSubstr("7.5 ~ !"));
  EXPECT_THAT(line(row("a", 7.5, 9, false, "BACKLOGGED")), HasSubstr("7.5 !"));
}

TEST(ResultTable, ShowsTheRangeWhereARowHasOne) {
  Json with = row("a", 10, std::nullopt), without = row("b", 20, std::nullopt);
  with["range"] = {{"mean_ttft_ms", {{"low", 9.5}, {"high", 11.25}}}};
  without["range"] = nullptr;
  const std::string table = result_table({with, without}, {"budget"}, TableForm::markdown);
  EXPECT_THAT(table, AllOf(HasSubstr("90 % range"), HasSubstr("9.5 .. 11.2")));
  EXPECT_THAT(result_table({without}, {"budget"}, TableForm::markdown), Not(HasSubstr("90 % range")));
}

}  // namespace
}  // namespace reprefill::sim
