// Advice whose truth is known from the profile; a search that resumes and does not depend on threads.
#include "study/advise/advise.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_folder.hpp"

namespace reprefill::study {
namespace {

using testing::HasSubstr;

class Advise : public testing::Test {
 protected:
  Advise() {
    inputs_ = {.model = "qwen2.5-0.5b",
               .profile = "a800-990pro",
               .workload = {{"kind", "prefix_pool"},
                            {"prefix_tokens", 512},
                            {"suffix_tokens", 16},
                            {"num_prefixes", 4},
                            {"warmup_requests", 4},
                            {"measured_requests", 6}},
               .importance = {{"kind", "synthetic"}, {"preset", "paper-5pct"}}};
    options_.search_trials = 16;
    options_.runner.jobs = 2;
  }
  Json run(record::ResultFolder::Mode mode = record::ResultFolder::Mode::replace) {
    record::ResultFolder folder(folder_ / "out", advise_resolved(inputs_, options_), mode);
    rows_.clear();
    return advise(inputs_, options_, context_, folder, rows_);
  }
  Json crossover(const Json& report, const std::string& system) const {
    for (const Json& entry : report["crossovers"]) {
      if (entry["system"] == system) return entry;
    }
    return nullptr;
  }

  const std::filesystem::path home_ = REPREFILL_SOURCE_DIR;
  const sim::ScenarioContext context_{.models = home_ / "scenarios" / "models",
                                      .profiles = home_ / "calibrate" / "profiles",
                                      .traces = {},
                                      .samples = home_ / "traces" / "samples"};
  AdviseInputs inputs_;
  AdviseOptions options_;
  std::vector<Json> rows_;
  test_support::TemporaryFolder folder_;
};

TEST_F(Advise, RecommendsTheFastestSettingThatKeepsEnough) {
  options_.min_attention_mass = 0.6;
  const Json report = run();
  ASSERT_FALSE(report["pareto"].empty());
  EXPECT_EQ(report["recommended"], report["pareto"][0]);
  double before = 0;
  for (const Json& row : report["pareto"]) {
    EXPECT_GE(row["attention_mass_kept"].get<double>(), 0.6);
    EXPECT_GE(row["ttft_ms"].get<double>(), before);
    before = row["ttft_ms"].get<double>();
  }
  std::size_t searched = 0;
  for (const Json& row : rows_) {
    if (row["purpose"] != "search") continue;
    ++searched;
    ASSERT_TRUE(row.contains("ttft_ms")) << row;
    if (row["attention_mass_kept"].get<double>() < 0.6) continue;
    EXPECT_GE(row["ttft_ms"].get<double>(), report["recommended"]["ttft_ms"].get<double>());
  }
  EXPECT_EQ(searched, 16u);
  EXPECT_EQ(report["trials"], rows_.size());
  EXPECT_LE(rows_.size(), num_advise_trials(options_));
  EXPECT_THAT(advise_markdown(report), HasSubstr("recommended"));
}

TEST_F(Advise, NothingRecommendedIsSaid) {
  options_.min_attention_mass = 1;
  const Json report = run();
  EXPECT_TRUE(report["recommended"].is_null());
  EXPECT_EQ(report["search"]["below_min_attention_mass"], 16);
  EXPECT_THAT(advise_markdown(report), HasSubstr("lower --min-attention-mass"));
}

TEST_F(Advise, OnADriveThatIsTooSlowLoadingNeverWins) {
  inputs_.profile = {{"name", "a800-990pro"}, {"ssd", {{"from", "a800-990pro"}, {"read_latency_ns", 900'000'000}}}};
  options_.search_trials = 1;
  const Json report = run();
  EXPECT_TRUE(crossover(report, "attention_store")["from_prefix_tokens"].is_null());
  EXPECT_THAT(advise_markdown(report), HasSubstr("| attention_store | never |"));
}

TEST_F(Advise, TheCrossoverLiesWhereTheTwoTimesMeet) {
  // Reads cost 30 ms a prefix whatever its length, and recomputing grows with it.
  inputs_.profile = {
      {"name", "a800-990pro"},
      {"gpu", {{"from", "a800-990pro"}, {"peak_flops_per_s", 20e12}}},
      {"ssd", {{"from", "a800-990pro"}, {"read_latency_ns", 30'000'000}, {"read_bandwidth_bytes_per_s", 1e12}}}};
  options_.search_trials = 1;
  const Json report = run();
  const Json entry = crossover(report, "attention_store");
  ASSERT_FALSE(entry["from_prefix_tokens"].is_null());
  const auto from = entry["from_prefix_tokens"].get<std::uint32_t>();
  EXPECT_GT(from, 64u);
  EXPECT_EQ(from % 64, 0u);
  // The trials themselves: at that length loading wins, at the longest examined below it recomputing does.
  std::map<std::string, std::map<std::uint32_t, double>> times;
  for (const Json& row : rows_) {
    if (row["purpose"] != "crossover") continue;
    times[row["system"]][static_cast<std::uint32_t>(std::stoul(row["note"].get<std::string>()))] = row["ttft_ms"];
  }
  const auto& loads = times["attention_store"];
  const auto& recomputes = times["recompute"];
  EXPECT_LT(loads.at(from), recomputes.at(from));
  const auto below = std::prev(loads.find(from));
  EXPECT_GE(below->second, recomputes.at(below->first));
}

TEST_F(Advise, AFasterDriveHelpsWhoReadsAndNotWhoRecomputes) {
  inputs_.workload["num_prefixes"] = 8;
  inputs_.workload["order"] = "distinct";
  inputs_.workload["warmup_requests"] = 0;
  options_.search_trials = 2;
  const Json report = run();
  for (const Json& entry : report["what_if"]) {
    if (entry["change"] != "ssd twice as fast") continue;
    if (entry["system"] == "recompute") {
      EXPECT_EQ(entry["relative_change"], 0.0);
    } else if (entry["system"] == "attention_store") {
      EXPECT_LT(entry["relative_change"].get<double>(), 0.0);
    }
  }
}

TEST_F(Advise, ThreadsDoNotChangeTheRecord) {
  options_.runner.jobs = 1;
  const Json one = run();
  const std::vector<Json> rows = rows_;
  options_.runner.jobs = 3;
  EXPECT_EQ(run(), one);
  EXPECT_EQ(rows_, rows);
}

TEST_F(Advise, AnInterruptedSearchGoesOnWithTheSameTrials) {
  const Json whole = run();
  std::atomic<bool> interrupted = false;
  std::size_t done = 0;
  options_.runner.interrupted = &interrupted;
  options_.runner.on_trial = [&](std::size_t) { interrupted = ++done == 60; };
  EXPECT_THROW(run(), Interrupted);
  interrupted = false;
  std::size_t lines = 0;
  {
    std::ifstream journal(folder_ / "out" / "journal.jsonl");
    for (std::string line; std::getline(journal, line);) ++lines;
  }
  EXPECT_GE(lines, 60u);
  options_.runner.on_trial = nullptr;
  EXPECT_EQ(run(record::ResultFolder::Mode::resume), whole);
}

TEST_F(Advise, TailsAreJudgedWithResidualsAndNeedTheirRequests) {
  inputs_.objective = Objective::p99_ttft;
  options_.search_trials = 1;
  try {
    run();
    FAIL() << "six requests have no P99";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("p99: 1,000"));
  }
  inputs_.objective = Objective::p95;
  EXPECT_GT(run()["baselines"][0]["ttft_ms"].get<double>(), 0);
}

TEST_F(Advise, BadInputsAreRefusedWithTheirPlace) {
  inputs_.workload["sufix_tokens"] = 3;
  try {
    run();
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean suffix_tokens"));
  }
}

}  // namespace
}  // namespace reprefill::study
