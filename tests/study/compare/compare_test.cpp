// A whole comparison on a tiny checkpoint: what must hold whatever this machine's speed is.
#include "study/compare/compare.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/record/timeline.hpp"
#include "engine/io/storage_kind.hpp"
#include "study/compare/calibrate_orders.hpp"
#include "study/compare/compare_summary.hpp"
#include "tests/engine/tokenizer/tiny_tokenizer.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::study {
namespace {

using test_support::TemporaryFolder;
using testing::HasSubstr;

class Compare : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    models_ = new TemporaryFolder;
    test_support::write_checkpoint(*models_ / "model", {.num_layers = 10,
                                                        .hidden = 128,
                                                        .num_query_heads = 8,
                                                        .num_kv_heads = 2,
                                                        .head_dim = 16,
                                                        .intermediate = 64,
                                                        .vocab = 300,
                                                        .weight_scale = 1.5});
    std::ofstream(*models_ / "model" / "tokenizer.json") << engine::test_support::tiny_tokenizer({}).dump();
    model_ = new engine::Model(engine::Model::open(*models_ / "model", "", {.cpu = {.num_threads = 2}}));
  }
  static void TearDownTestSuite() {
    delete model_;
    delete models_;
  }

  static Json scenario_json() {
    return {{"name", "test"},
            {"model", (*models_ / "model").string()},
            {"profile", "a800-990pro"},
            {"workload",
             {{"kind", "prefix_pool"},
              {"num_prefixes", 3},
              {"prefix_tokens", 300},
              {"suffix_tokens", 12},
              {"warmup_requests", 2},
              {"measured_requests", 4}}},
            {"systems", {"recompute", "attention_store", "contiguous_kv", "impress"}},
            {"axes", {{"gpu_cache", {"400 kB"}}, {"host_cache", {"300 kB"}}, {"budget", {0.25}}}}};
  }
  sim::Scenario read(const Json& json) const { return sim::read_scenario(json, "test.json", {}, context_); }
  CompareOptions options(std::size_t repeats = 2) const {
    CompareOptions options{.repeats = repeats, .range_replicas = 4};
    options.real.buffered_reads = true;
    options.work_folder = folder_ / "work";
    return options;
  }
  CompareResult run(const sim::Scenario& scenario, const CompareOptions& wanted,
                    record::ResultFolder::Mode mode = record::ResultFolder::Mode::replace) {
    record::ResultFolder folder(folder_ / "out", compare_inputs(scenario, measured_on(*model_), wanted), mode);
    sim::SharedInputs inputs(context_);
    return compare(*model_, scenario, inputs, folder, wanted);
  }

  static TemporaryFolder* models_;
  static engine::Model* model_;
  const std::filesystem::path root_ = REPREFILL_SOURCE_DIR;
  const sim::ScenarioContext context_{.models = root_ / "scenarios/models",
                                      .profiles = root_ / "calibrate/profiles",
                                      .traces = "",
                                      .samples = root_ / "traces/samples"};
  TemporaryFolder folder_;
};
TemporaryFolder* Compare::models_ = nullptr;
engine::Model* Compare::model_ = nullptr;

TEST_F(Compare, DecisionsAreEqualAndEveryRequestIsJudged) {
  const CompareResult result = run(read(scenario_json()), options());
  ASSERT_EQ(result.rows.size(), 4u);
  for (const Json& row : result.rows) {
    EXPECT_EQ(row["equality"]["equal"], true) << row["equality"];
    EXPECT_EQ(row["requests"].size(), 4u);
    EXPECT_EQ(row["requests"][0]["name"], "2");  // after two warm-up requests
    EXPECT_EQ(row["ranges"].size(), 4u);
    EXPECT_TRUE(row["distribution"].empty());
    EXPECT_GT(row["ttft"]["real_ms"].get<double>(), 0);
    EXPECT_GT(row["ttft"]["predicted_ms"].get<double>(), 0);
    double classes = 0;
    for (const Json& cell : row["classes"]) classes += cell["predicted_ms"].get<double>();
    EXPECT_NEAR(classes, row["ttft"]["predicted_ms"].get<double>(), 1e-9);
    EXPECT_EQ(row["alternatives"].size(), 5u);
    EXPECT_FALSE(row["worst_span"].get<std::string>().empty());
  }
  EXPECT_EQ(result.summary["equality"], (Json{{"checked_points", 4}, {"equal_points", 4}}));
  EXPECT_EQ(result.summary["errors"]["ttft of requests"]["cells"], 16);
  const Json& by_bound = result.summary["errors"];
  EXPECT_EQ(by_bound["ttft of requests, compute-bound"]["cells"].get<int>() +
                by_bound["ttft of requests, I/O-bound"]["cells"].get<int>(),
            16);
  EXPECT_EQ(result.summary["range_90"]["real_values"], 2 * 16);
  EXPECT_TRUE(record::check_timeline(result.timeline).empty());
  const std::string markdown = compare_markdown(result.rows, result.summary);
  EXPECT_THAT(markdown, HasSubstr("equal on 4 of 4 points"));
  EXPECT_THAT(markdown, HasSubstr("Worst span: "));
}

TEST_F(Compare, APointThatReordersOfflineIsServedFromAStoreReorderedSo) {
  Json json = scenario_json();
  json["systems"] = {{{"name", "impress"}, {"axes", {{"reorder.io", {"off", "offline"}}}}}};
  json["axes"]["software_path"] = {"prototype", "direct"};
  const CompareResult result = run(read(json), options(1));
  ASSERT_EQ(result.rows.size(), 4u);
  for (const Json& row : result.rows) {
    EXPECT_EQ(row["equality"]["equal"], true) << row["label"] << ": " << row["equality"];
    EXPECT_FALSE(row["timing_dependent"].get<bool>());
  }
  const engine::Store store = engine::Store::open(folder_ / "work" / "store");
  ASSERT_EQ(store.manifest().layouts.size(), 2u);
  const engine::StoredOrders orders(store, store.manifest().layouts[1]);
  EXPECT_TRUE(orders.come_from(4));
  EXPECT_FALSE(std::ranges::is_sorted(orders.places(SegmentId{0}, 5)));
  EXPECT_EQ(layout_name(store.manifest().layouts[1]), "layer-apart-64+probe0-2+reordered");

  // Goes on with the same store, and with what was measured on it.
  const auto written = std::filesystem::last_write_time(store.file_path(SegmentId{0}, 1));
  run(read(json), options(1), record::ResultFolder::Mode::resume);
  EXPECT_EQ(std::filesystem::last_write_time(store.file_path(SegmentId{0}, 1)), written);
}

TEST_F(Compare, CachesAreSmallEnoughThatHitsOfBothTiersAndMissesOccur) {
  // Otherwise the equality above would prove little.
  run(read(scenario_json()), options(1));
  std::ifstream lines(folder_ / "out" / "journal.jsonl");
  std::uint64_t hits = 0, reads = 0, host_hits = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json entry = Json::parse(line);
    for (const Json& request : entry["row"]["run"]["requests"]) {
      hits += request["account"]["pieces_gpu_hits"].get<std::uint64_t>();
      reads += request["account"]["num_reads"].get<std::uint64_t>();
      host_hits += request["account"]["pieces_host_hits"].get<std::uint64_t>();
    }
  }
  EXPECT_GT(hits, 0u);
  EXPECT_GT(reads, 0u);
  EXPECT_GT(host_hits, 0u);
}

TEST_F(Compare, SeveralInFlightAreComparedAsDistributions) {
  Json json = scenario_json();
  json["workload"]["in_flight"] = 4;
  json["workload"]["measured_requests"] = 8;
  json["systems"] = {"attention_store", "contiguous_kv"};
  const CompareResult result = run(read(json), options());
  for (const Json& row : result.rows) {
    EXPECT_EQ(row["requests_in_flight"], 4);
    EXPECT_TRUE(row["timing_dependent"].get<bool>());
    EXPECT_TRUE(row["equality"]["equal"].is_null());
    EXPECT_TRUE(row["requests"].empty());
    ASSERT_EQ(row["distribution"].size(), 3u);
    EXPECT_LE(row["distribution"][0]["real_ms"].get<double>(), row["distribution"][2]["real_ms"].get<double>());
    EXPECT_GE(row["distribution_distance"].get<double>(), 0);
    EXPECT_LE(row["distribution_distance"].get<double>(), 1);
    EXPECT_EQ(row["ranges"].size(), 1u);  // of the mean
  }
  EXPECT_EQ(result.summary["equality"]["checked_points"], 0);
  EXPECT_THAT(compare_markdown(result.rows, result.summary), HasSubstr("## Requests in flight: distributions"));
}

TEST_F(Compare, AnInterruptedComparisonGoesOnAndRepeatsNothing) {
  Json json = scenario_json();
  json["systems"] = {"recompute", "contiguous_kv"};
  const sim::Scenario scenario = read(json);
  std::atomic<bool> interrupted = false;
  CompareOptions first = options(3);
  first.interrupted = first.real.interrupted = &interrupted;
  first.on_run = [&](std::size_t done) { interrupted = done == 5; };  // two recordings and three of six runs
  EXPECT_THROW(run(scenario, first), Interrupted);
  const auto lines_of = [&] {
    std::ifstream in(folder_ / "out" / "journal.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  };
  const std::vector<std::string> before = lines_of();
  ASSERT_EQ(before.size(), 3u);
  const CompareResult result = run(scenario, options(3), record::ResultFolder::Mode::resume);
  const std::vector<std::string> after = lines_of();
  ASSERT_EQ(after.size(), 6u);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  EXPECT_EQ(result.rows.size(), 2u);
}

TEST_F(Compare, ASlowerDriveInTheProfileChangesThePredictionNotTheMeasurement) {
  Json json = scenario_json();
  json["systems"] = {"attention_store"};
  json["workload"]["order"] = "interleaved";  // a cyclic order over more than the caches hold: LRU finds little
  const CompareResult before = run(read(json), options(1));
  json["profile"] = {{"name", "a800-990pro"}, {"ssd", {{"from", "a800-990pro"}, {"read_bandwidth", "70 MB/s"}}}};
  const CompareResult after = run(read(json), options(1), record::ResultFolder::Mode::resume);
  EXPECT_EQ(after.rows[0]["ttft"]["real_ms"], before.rows[0]["ttft"]["real_ms"]);
  EXPECT_GT(after.rows[0]["ttft"]["predicted_ms"].get<double>(), before.rows[0]["ttft"]["predicted_ms"].get<double>());
}

TEST_F(Compare, AJudgementAgainWithoutModelAndStoreIsTheSame) {
  const sim::Scenario scenario = read(scenario_json());
  const CompareOptions wanted = options();
  const CompareResult first = run(scenario, wanted);
  std::filesystem::remove_all(wanted.work_folder / "store");
  const MeasuredRequests measured = read_measured(wanted.work_folder);
  record::ResultFolder folder(folder_ / "out", compare_inputs(scenario, measured.on, wanted),
                              record::ResultFolder::Mode::resume);
  const CompareResult again = judge_again(scenario, measured, folder, wanted);
  EXPECT_EQ(again.rows, first.rows);
  EXPECT_EQ(again.summary, first.summary);
  EXPECT_EQ(again.timeline, first.timeline);
}

TEST_F(Compare, AJudgementAgainNeedsEveryMeasuredRun) {
  const sim::Scenario scenario = read(scenario_json());
  run(scenario, options(1));
  const MeasuredRequests measured = read_measured(options().work_folder);
  const CompareOptions more = options(2);
  record::ResultFolder folder(folder_ / "other", compare_inputs(scenario, measured.on, more),
                              record::ResultFolder::Mode::fresh);
  const auto refused = [&](const MeasuredRequests& requests) {
    try {
      judge_again(scenario, requests, folder, more);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refused(measured), HasSubstr("repeat 0 of point 0 was not measured"));
  MeasuredRequests fewer = measured;
  fewer.points.pop_back();
  EXPECT_THAT(refused(fewer), HasSubstr("3 points; the scenario has 4"));
}

/// Past the page cache, on a profile whose drive was measured.
class CompareOnADrive : public Compare {
 protected:
  void SetUp() override {
    if (engine::storage_kind(folder_.path()).is_memory) GTEST_SKIP() << "the temporary folder is in memory";
  }
  static Json with_measured_drive() {
    Json json = scenario_json();
    json["profile"] = {{"name", "a800-990pro"}, {"ssd", "h100-2026-11-23"}};
    json["systems"] = {"recompute", "attention_store"};
    json["workload"]["order"] = "interleaved";  // a cyclic order over more than the caches hold: LRU finds little
    return json;
  }
  CompareOptions direct(std::size_t repeats) const {
    CompareOptions wanted = options(repeats);
    wanted.real.buffered_reads = false;
    wanted.real.unregistered_buffers = true;
    return wanted;
  }
};

TEST_F(CompareOnADrive, TheDriveIsMeasuredBesideEveryRoundAndJudgedBesideTheProfile) {
  const sim::Scenario scenario = read(with_measured_drive());
  const CompareOptions wanted = direct(2);
  const CompareResult result = run(scenario, wanted);
  const Json& drive = result.summary["drive"];
  EXPECT_EQ(drive["probes"], 3);  // before, between, after
  EXPECT_EQ(drive["rounds_read_time_ratio"].size(), 2u);
  ASSERT_EQ(drive["cells"].size(), 4u);  // the store's files are smaller than larger reads
  EXPECT_EQ(drive["cells"][3]["bytes"], 128 << 10);
  EXPECT_EQ(drive["cells"][3]["depth"], 128);
  // What reads nothing is predicted alike; what reads has a prediction of its own.
  const auto then = [&](std::size_t row) { return result.rows[row]["drive_then"]["ttft"]["predicted_ms"]; };
  EXPECT_EQ(then(0), result.rows[0]["ttft"]["predicted_ms"]);
  EXPECT_NE(then(1), result.rows[1]["ttft"]["predicted_ms"]);
  EXPECT_EQ(result.summary["errors"]["mean ttft of points, drive as then"]["cells"], 2);
  const std::string markdown = compare_markdown(result.rows, result.summary);
  EXPECT_THAT(markdown, HasSubstr("drive as then ms"));
  EXPECT_THAT(markdown, HasSubstr("when the drive was calibrated; round by round:"));

  // Kept with the measurements: judged again it is the same, and with a profile that knows nothing of it, it is said.
  const MeasuredRequests measured = read_measured(wanted.work_folder);
  const auto again = [&](const sim::Scenario& judged) {
    record::ResultFolder folder(folder_ / "out", compare_inputs(judged, measured.on, wanted),
                                record::ResultFolder::Mode::resume);
    return judge_again(judged, measured, folder, wanted);
  };
  EXPECT_EQ(again(scenario).summary, result.summary);
  Json datasheet = with_measured_drive();
  datasheet["profile"] = "a800-990pro";
  const CompareResult other = again(read(datasheet));
  EXPECT_TRUE(other.rows[1]["drive_then"].is_null());
  EXPECT_FALSE(other.summary["errors"].contains("mean ttft of points, drive as then"));
  EXPECT_THAT(other.summary["drive"]["in_words"].get<std::string>(), HasSubstr("profile a800-990pro does not say"));
}

TEST_F(CompareOnADrive, AnInterruptedRoundIsProbedAgainWhereItGoesOn) {
  const sim::Scenario scenario = read(with_measured_drive());
  std::atomic<bool> interrupted = false;
  CompareOptions first = direct(2);
  first.interrupted = first.real.interrupted = &interrupted;
  first.on_run = [&](std::size_t done) { interrupted = done == 3; };  // two recordings, one of four runs
  EXPECT_THROW(run(scenario, first), Interrupted);
  const CompareResult result = run(scenario, direct(2), record::ResultFolder::Mode::resume);
  EXPECT_EQ(result.summary["drive"]["probes"], 4);  // one before the interruption
  // All is measured: there is nothing to probe beside.
  EXPECT_EQ(run(scenario, direct(2), record::ResultFolder::Mode::resume).summary["drive"]["probes"], 4);
}

TEST_F(CompareOnADrive, ProbesCanBeSwitchedOff) {
  CompareOptions wanted = direct(1);
  wanted.probe_drive = false;
  const CompareResult result = run(read(with_measured_drive()), wanted);
  EXPECT_EQ(result.summary["drive"],
            (Json{{"probes", 0}, {"in_words", "The drive was not measured beside the runs."}}));
  EXPECT_TRUE(result.rows[1]["drive_then"].is_null());
}

TEST_F(Compare, WhatTheEngineCannotServeIsRefused) {
  const auto refused = [&](const Json& json) {
    try {
      run(read(json), options());
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  Json json = scenario_json();
  json["workload"]["arrivals"] = "poisson";
  EXPECT_THAT(refused(json), HasSubstr("workload.arrivals: found poisson; expected closed"));
  json = scenario_json();
  json["workload"]["prefix_tokens"] = 9000;
  EXPECT_THAT(refused(json), HasSubstr("the model takes 4096"));
  json = scenario_json();
  json["axes"]["store_block_tokens"] = {64, 128};
  EXPECT_THAT(refused(json), HasSubstr("compare builds one store"));
  json = scenario_json();
  json["systems"] = {"impress"};
  json["axes"]["reorder.io"] = {"background"};
  EXPECT_THAT(refused(json), HasSubstr("reorder.io: found background"));
  json["axes"]["reorder.io"] = {"offline"};
  json["axes"]["reorder.calibration_requests"] = {1, 2};
  EXPECT_THAT(refused(json), HasSubstr("reorder.calibration_requests: found 1 and 2"));
}

}  // namespace
}  // namespace reprefill::study
