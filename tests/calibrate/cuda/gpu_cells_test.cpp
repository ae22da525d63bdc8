// Calibration of a GPU, on the emulated device: every cell runs, and the bundle is one that a scenario takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "calibrate/bundle.hpp"
#include "calibrate/cpu/random_checkpoint.hpp"
#include "calibrate/cuda/gpu_copy_cells.hpp"
#include "calibrate/cuda/gpu_interference_cells.hpp"
#include "calibrate/cuda/gpu_operation_cells.hpp"
#include "calibrate/fit/fit_masks.hpp"
#include "calibrate/fit/fit_operations.hpp"
#include "core/base/files.hpp"
#include "engine/executor/cuda/cuda_executor.hpp"
#include "sim/devices/profile.hpp"
#include "tests/support/emulated_gpu.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

constexpr const char* kTinyConfig = R"({"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64,
  "intermediate_size": 96, "max_position_embeddings": 128, "num_attention_heads": 4, "num_hidden_layers": 2,
  "num_key_value_heads": 1, "head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
  "torch_dtype": "bfloat16", "vocab_size": 128})";

CalibrateOptions on(const char* device) {
  CalibrateOptions options;
  options.device = device;
  return options;
}

class GpuCells : public testing::Test {
 protected:
  void SetUp() override {
    write_file_atomically(folder / "config.json", kTinyConfig);
    geometry = read_model_config(folder / "config.json");
    write_random_checkpoint(folder / "model", geometry, 2);
    checkpoint.emplace(engine::Checkpoint::open(folder / "model"));
    executor.emplace(*checkpoint, test_support::make_emulated_gpu());
    driver.emplace(*executor);
    walk.emplace(*driver, 64);
  }
  test_support::TemporaryFolder folder;
  ModelGeometry geometry;
  std::optional<engine::Checkpoint> checkpoint;
  std::optional<engine::CudaExecutor> executor;
  std::optional<GpuDriver> driver;
  std::optional<GpuLayerWalk> walk;
};

TEST_F(GpuCells, StepsRunInOrderAndTheirTimesToo) {
  std::vector<int> order;
  std::vector<Step> steps;
  for (int i = 0; i < 5; ++i) steps.push_back({.work = [&order, i] { order.push_back(i); }});
  const std::vector<StepTimes> times = driver->run(steps);
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 3, 4));
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_GE(times[i].end, times[i].start);
    EXPECT_GE(times[i].drained, times[i].end);
    if (i > 0) {
      EXPECT_GE(times[i].start, times[i - 1].end);
    }
  }
}

TEST_F(GpuCells, TimesLieBetweenWishAndKnowledgeThoughTheDevicesClockDriftedInARest) {
  constexpr Nanoseconds kTolerance{20'000};
  for (const double rate : {0.5, 2.0}) {
    engine::CudaExecutor other(*checkpoint, test_support::make_emulated_gpu(Bytes{std::uint64_t{1} << 30}, rate));
    GpuDriver drifting(other);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    const StepTimes times = drifting.run(Step{});
    EXPECT_GE(times.start + kTolerance, times.enqueued) << rate;
    EXPECT_LE(times.end, times.drained + kTolerance) << rate;
  }
}

TEST_F(GpuCells, WhatAStepThrowsIsRethrownWhenAllAreOver) {
  bool ran = false;
  const std::vector<Step> steps = {{.work = [] { throw MachineError("first"); }},
                                   {.work = [&ran] { ran = true; }},
                                   {.lane = StepLane::host, .work = [] { throw MachineError("second"); }}};
  EXPECT_THROW(driver->run(steps), MachineError);
  EXPECT_TRUE(ran);
  driver->run(Step{});  // and goes on
}

TEST_F(GpuCells, AWalkTimesEveryOperationAndLeavesScoresInHostMemory) {
  const GpuLayerWalk::Timing timing = walk->walk_with_scores(3, 48);
  EXPECT_GT(timing.project_ns, 0);
  EXPECT_GT(timing.score_ns, 0);
  EXPECT_GT(timing.score_probe_ns, 0);
  EXPECT_GT(timing.attend_ns, 0);
  const GpuLayerWalk::Timing alone = walk->walk(3, {});
  EXPECT_EQ(alone.score_ns, 0);
  EXPECT_GT(alone.attend_ns, 0);
  EXPECT_GT(walk->first_token_ns(), 0);
  EXPECT_GE(walk->turnaround_ns(), 0);  // less an attend of this device, whose times vary
  EXPECT_GE(walk->request_overhead_ns(), 0);
  EXPECT_THROW(walk->walk(3, {.keys = 47}), InvariantError) << "pages are whole";
  EXPECT_THROW(walk->walk(3, {.keys = 80}), InvariantError) << "only 64 are stored";
}

TEST_F(GpuCells, AViewHasPagesOfAnyLengthAndMasksOfEitherKind) {
  using Mask = pipeline::AttentionMask;
  for (const Mask mask : {Mask::none, Mask::keys, Mask::values}) {
    for (const std::uint32_t page : {1u, 16u, 64u}) {
      EXPECT_GT(walk->walk(3, {.keys = 64, .page_tokens = page, .mask = mask, .kept_share = 0.25}).attend_ns, 0);
    }
  }
  EXPECT_GT(walk->walk(3, {.keys = 64, .mask = Mask::keys, .kept_share = 0}).attend_ns, 0) << "own tokens are left";
}

TEST_F(GpuCells, EveryKindOfChoiceIsTimed) {
  using Grouping = traces::HeadGrouping;
  EXPECT_EQ(GpuLayerWalk::num_scores(geometry, {Grouping::all_heads, 64}), 4u);
  EXPECT_EQ(GpuLayerWalk::num_scores(geometry, {Grouping::per_kv_head, 64}), 64u);
  EXPECT_EQ(GpuLayerWalk::num_scores(geometry, {Grouping::probe_heads, 64}), 3 * 64u);
  for (const Grouping grouping : {Grouping::all_heads, Grouping::per_kv_head, Grouping::probe_heads}) {
    EXPECT_GT(walk->select_ns({grouping, 64}), 0);
  }
}

TEST_F(GpuCells, CellsOfAGridCanBeFitted) {
  SteadyClock clock;
  SampleStore store;
  const auto cells = gpu_operation_cells({.queries = {1, 16, 32}, .keys = {0, 32, 64}}, geometry, &*walk);
  std::map<std::string, int> by_quantity;
  for (const auto& cell : cells) ++by_quantity[cell->spec().quantity];
  EXPECT_EQ(by_quantity["layer"], 9);
  EXPECT_EQ(by_quantity["attend_masked"], 2 * (1 + 3)) << "16 queries over all keys, and three other shares";
  EXPECT_EQ(by_quantity["attend_pages"], 2);
  EXPECT_EQ(by_quantity["select_scored"], 3);
  EXPECT_EQ(cells.size(), 26u);
  const MeasureOptions options{.rule = {.min_samples = 3, .fewest = 3, .max_samples = 3, .target = 0.5, .cap_s = 0.05}};
  const std::vector<Measured> measured = measure(cells, options, clock, store);
  const OperationFit fit = fit_operations(geometry, measured, 2);
  EXPECT_GT(fit.tables.attend.at(32, 64).ns, 0);
  EXPECT_GT(fit.tables.first_token_ns, 0);
  const MaskFit masks = fit_masks(geometry, measured);
  ASSERT_TRUE(masks.keys && masks.values);
  EXPECT_EQ(masks.values->at(16, 0).ns, 0);
}

TEST_F(GpuCells, EveryCopyOfEverySizeGivesATime) {
  std::map<std::string, std::vector<double>> by_quantity;
  for (const auto& cell : gpu_copy_cells(false, &*driver)) {
    by_quantity[cell->spec().quantity].push_back(cell->sample().values.at(0));
  }
  EXPECT_EQ(by_quantity.size(), 7u);
  EXPECT_EQ(by_quantity["prefetch_single"].size(), 5u);  // 1 to 16 pieces
  EXPECT_EQ(by_quantity["prefetch"].size(), 8u);         // 32 to 4,096
  for (const auto& [quantity, ns] : by_quantity) {
    if (!quantity.starts_with("prefetch")) {
      EXPECT_EQ(ns.size(), 7u) << quantity;  // 16 KiB to 64 MiB
    }
    if (quantity == "prefetch_single") continue;  // too little for a busy machine to tell
    EXPECT_GT(ns.back(), ns.front()) << quantity;
  }
}

TEST_F(GpuCells, PairsThatMeetGiveAFactorAndOthersAreNotMeasured) {
  std::vector<std::string> ids;
  for (const auto& cell : gpu_interference_cells({.walk = &*walk})) {
    ids.push_back(cell->spec().id);
    cell->prepare();
    EXPECT_GT(cell->sample().values.at(0), 0) << cell->spec().id;
    cell->finish();
  }
  EXPECT_EQ(ids.size(), 16u);  // 5 x 5, less five with themselves and the two pairs that never meet, both ways
  EXPECT_THAT(ids, testing::Not(testing::Contains("interference/gather/by/h2d")));
  EXPECT_EQ(gpu_interference_cells({.has_storage = true}).size(), 26u);
}

TEST_F(GpuCells, ACalibrationWritesABundleThatAScenarioTakesWithAllPairs) {
  CalibrateOptions options = on("cuda");
  options.models = {(folder / "config.json").string()};
  options.models_folder = folder.path();
  options.cell_seconds = 0.01;
  Plan plan = make_plan(options);
  EXPECT_EQ(plan.models.at(0).num_layers, 2);
  plan.operation_grid = {.queries = {1, 8}, .keys = {0, 64}};
  const RunOptions run{.out = folder / "bundle",
                       .progress = ProgressMode::quiet,
                       .open_executor = [](const engine::Checkpoint& opened, const engine::ExecutorOptions& wanted) {
                         EXPECT_EQ(wanted.device, engine::ExecutorDevice::cuda);
                         return std::make_unique<engine::CudaExecutor>(opened, test_support::make_emulated_gpu());
                       }};
  const Measurements measured = run_plan(plan, run);
  EXPECT_EQ(measured.gpu_name, "emulated GPU");
  Bundle bundle = make_bundle(plan, measured, "emulated", "2026-01-01", "test");
  EXPECT_GT(bundle.model["gpu"]["peak_flops_per_s"].get<double>(), 0);
  bundle.model["gpu"]["peak_flops_per_s"] = 1e12;  // an emulated device is slower than profiles allow
  bundle.model["gpu"]["memory_bandwidth_bytes_per_s"] = 1e12;
  write_bundle(folder / "bundle", bundle);
  sim::check_bundle(folder / "bundle");
  EXPECT_FALSE(std::filesystem::exists(folder / "bundle" / "scratch" / "gpu"));

  const std::string path = (folder / "bundle").string();
  const Json gpu_only = {{"name", path}, {"ssd", "ssd-gen4"}};
  const sim::Profile profile = sim::read_profile(JsonValue(gpu_only, "profile"),
                                                 std::filesystem::path(REPREFILL_SOURCE_DIR) / "calibrate/profiles");
  EXPECT_FALSE(profile.hypothetical && profile.gpu.operations->empty());
  EXPECT_EQ(profile.gpu.operations->size(), 1u);
  EXPECT_TRUE(profile.gpu.operations->front().fits(geometry));
  EXPECT_GE(profile.gpu.select_per_score_ns, 0);
  EXPECT_TRUE(profile.gpu.operations->front().mask_keys && profile.gpu.operations->front().mask_values);
  EXPECT_EQ(profile.link.single_copies.most_pieces, engine::kMostSingleCopies);
  // Not its value: a difference of two times, which a busy machine may make 0.
  EXPECT_THAT(bundle.model["host"]["sources"]["first_token_cost_ns"].get<std::string>(),
              testing::HasSubstr("measured"));
  EXPECT_GT(profile.link.gather_bandwidth.value, 0);
  EXPECT_EQ(profile.num_missing_interference_pairs(), 10) << "those of the drive, which was not measured";
}

TEST(GpuPlan, NeedsAModelAndKnowsItsDevices) {
  EXPECT_THAT([] { make_plan(on("cuda")); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("found no --model")));
  EXPECT_THAT([] { make_plan(on("tpu")); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("expected \"cpu\" or \"cuda\"")));
}

/// Estimates for an H100, without a drive: its part is 40 s of a quick calibration's 120, 140 s of a full one's 480.
TEST(GpuPlan, OfA7BModelKeepsWithinItsTime) {
  const std::filesystem::path models = std::filesystem::path(REPREFILL_SOURCE_DIR) / "scenarios/models";
  CalibrateOptions options = on("cuda");
  options.models = {"qwen2.5-7b"};
  options.models_folder = models;
  for (const Effort effort : {Effort::quick, Effort::full}) {
    options.effort = effort;
    const Plan plan = make_plan(options);
    std::string parts;
    for (const PlannedPart& part : plan.parts) {
      parts += fmt::format("{}: {} cells, {:.0f} s\n", part.name, part.num_cells, part.expected_s);
    }
    EXPECT_LT(plan.expected_s(), effort == Effort::quick ? 80 : 300) << parts;
  }
}

TEST(GpuLayers, AreEnoughToLeaveTheCacheAndNoMoreThanTheModelHas) {
  ModelGeometry geometry;
  geometry.num_layers = 28;
  geometry.hidden = 3584;
  geometry.num_query_heads = 28;
  geometry.num_kv_heads = 4;
  geometry.head_dim = 128;
  geometry.intermediate = 18944;
  geometry.mlp_matrices = 3;
  EXPECT_EQ(num_gpu_layers(geometry), 5);
  geometry.num_layers = 3;
  EXPECT_EQ(num_gpu_layers(geometry), 3);
  geometry.num_layers = 24;
  geometry.hidden = 896;
  geometry.num_query_heads = 14;
  geometry.num_kv_heads = 2;
  geometry.head_dim = 64;
  geometry.intermediate = 4864;
  EXPECT_EQ(num_gpu_layers(geometry), 24);  // 30 MB a layer: all of them are 716 MB
}

}  // namespace
}  // namespace reprefill::calibrate
