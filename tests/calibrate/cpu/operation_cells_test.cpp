#include "calibrate/cpu/operation_cells.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/cpu/random_checkpoint.hpp"
#include "calibrate/fit/fit_operations.hpp"
#include "engine/executor/cpu/cpu_executor.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

ModelGeometry tiny() {
  ModelGeometry geometry;
  geometry.name = "tiny";
  geometry.num_layers = 4;
  geometry.hidden = 64;
  geometry.num_query_heads = 4;
  geometry.num_kv_heads = 2;
  geometry.head_dim = 16;
  geometry.intermediate = 96;
  geometry.vocab = 128;
  geometry.max_position_embeddings = 512;
  return geometry;
}

class RandomModel : public testing::Test {
 protected:
  void SetUp() override {
    write_random_checkpoint(folder / "model", tiny(), 2);
    checkpoint.emplace(engine::Checkpoint::open(folder / "model"));
    executor.emplace(*checkpoint, engine::CpuExecutorOptions{.num_threads = 2});
  }
  test_support::TemporaryFolder folder;
  std::optional<engine::Checkpoint> checkpoint;
  std::optional<engine::CpuExecutor> executor;
};

TEST_F(RandomModel, IsACheckpointOfThatShapeWithFewerLayers) {
  EXPECT_EQ(checkpoint->geometry().num_layers, 2);
  EXPECT_EQ(sim::shape_json(checkpoint->geometry()), sim::shape_json(tiny()));
  const Bytes file{std::filesystem::file_size(folder / "model" / "model.safetensors")};
  EXPECT_GT(file, random_checkpoint_bytes(tiny(), 2));
  EXPECT_LT(file, random_checkpoint_bytes(tiny(), 2) + Bytes{8192});
}

TEST_F(RandomModel, WeightsAreFiniteAndLogitsAreNumbers) {
  LayerWalk walk(*executor, 64);
  EXPECT_GT(walk.time_first_token(), 0);  // argmax refuses NaN
}

TEST_F(RandomModel, AWalkGoesThroughAllLayersAndBeginsAnew) {
  LayerWalk walk(*executor, 100);
  for (int i = 0; i < 5; ++i) {  // two layers: begins again at the third and fifth
    const LayerWalk::Timing timing = walk.time_layer(3, 100);
    EXPECT_GT(timing.project_ns, 0);
    EXPECT_GT(timing.score_ns, 0);
    EXPECT_GT(timing.score_probe_ns, 0);
    EXPECT_GT(timing.attend_ns, 0);
  }
  EXPECT_EQ(walk.time_layer(1, 0).score_ns, 0);                 // nothing stored: nothing to score
  EXPECT_THAT(walk.probe_heads(), testing::ElementsAre(0, 1));  // those that share the first KV head
}

TEST_F(RandomModel, CellsOfAGridCanBeFitted) {
  LayerWalk walk(*executor, 256);
  SteadyClock clock;
  const OperationGrid grid{.queries = {1, 8, 32}, .keys = {0, 64, 256}};
  const auto cells = operation_cells(grid, tiny(), &walk);
  EXPECT_EQ(cells.size(), 13u);
  SampleStore store;
  const MeasureOptions options{.rule = {.min_samples = 3, .fewest = 3, .max_samples = 6, .target = 0.5, .cap_s = 0.05}};
  const OperationFit fit = fit_operations(tiny(), measure(cells, options, clock, store), 2);
  EXPECT_EQ(fit.reports.size(), 6u);
  EXPECT_TRUE(fit.tables.begin.has_value());
  EXPECT_GT(fit.tables.attend.at(32, 256).ns, 0);
}

TEST(OperationCells, ShapesBeyondTheModelsPositionsAreLeftOut) {
  for (const auto& cell : operation_cells(full_operation_grid(), tiny(), nullptr)) {
    if (cell->spec().quantity != "layer") continue;
    EXPECT_LE(cell->spec().shape["queries"].get<int>() + cell->spec().shape["keys"].get<int>(), 512);
  }
}

TEST(RandomCheckpoint, HasEnoughLayersToLeaveTheCacheAndNoMoreThanTheModel) {
  EXPECT_EQ(num_random_layers(tiny()), 4);
  ModelGeometry large = tiny();
  large.hidden = 4096;
  large.num_query_heads = 32;
  large.num_kv_heads = 8;
  large.head_dim = 128;
  large.intermediate = 14336;
  EXPECT_EQ(num_random_layers(large), 1);
}

}  // namespace
}  // namespace reprefill::calibrate
