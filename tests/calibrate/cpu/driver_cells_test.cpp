#include "calibrate/session/driver_cells.hpp"

#include <gtest/gtest.h>

#include "calibrate/cpu/random_checkpoint.hpp"
#include "calibrate/fit/fit_driver.hpp"
#include "calibrate/session/session_work.hpp"
#include "engine/io/storage_kind.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

ModelGeometry tiny() {
  return {.name = "tiny",
          .num_layers = 4,
          .hidden = 64,
          .num_query_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 16,
          .intermediate = 96,
          .vocab = 128,
          .tied_embeddings = true,
          .max_position_embeddings = 512};
}

TEST(DriverCells, SessionsAreServedAndTheirDriversTimeIsFitted) {
  const test_support::TemporaryFolder folder;
  if (engine::storage_kind(folder.path()).is_memory) GTEST_SKIP() << "the temporary folder is in memory";
  write_random_checkpoint(folder / "model", tiny(), 4);
  engine::Model model;
  model.checkpoint = std::make_unique<engine::Checkpoint>(engine::Checkpoint::open(folder / "model"));
  model.executor = engine::open_executor(*model.checkpoint, {.cpu = {.num_threads = 2}});
  const engine::Store store = write_probe_store(model, folder / "store", probe_prefix_tokens(tiny()));
  std::vector<Measured> cells;
  for (const auto& cell : driver_cells(tiny(), {.model = &model, .store = &store, .unregistered_buffers = true})) {
    Measured measured{.spec = cell->spec(), .values = std::vector<std::vector<double>>(cell->spec().metrics.size())};
    cell->prepare();
    for (int i = 0; i < 2; ++i) {
      const Sample sample = cell->sample();
      for (std::size_t metric = 0; metric < sample.values.size(); ++metric) {
        measured.values[metric].push_back(sample.values[metric]);
      }
      EXPECT_GT(sample.extra.at("ttft_ns").get<double>(), sample.values[0]) << cell->spec().id;
      const SessionWork work = session_work_from_json(sample.extra.at("work"));
      EXPECT_GT(work.gpu_ns, 0) << cell->spec().id;
      EXPECT_EQ(work.ssd_bytes > 0, cell->spec().shape.at("system") != "resident") << cell->spec().id;
    }
    cell->finish();
    EXPECT_GT(measured.of(0)[0], 0) << cell->spec().id;
    // Three host tasks, project and attend of four layers, and the first token, at least.
    EXPECT_GE(measured.of(1)[0], 12) << cell->spec().id;
    EXPECT_EQ(measured.of(2)[0] > 0, cell->spec().shape.at("system") != "resident") << cell->spec().id;
    EXPECT_GT(measured.of(3)[0], 0) << cell->spec().id;
    cells.push_back(std::move(measured));
  }
  const auto fit = fit_driver(cells);
  ASSERT_TRUE(fit.has_value());
  EXPECT_GT(fit->costs.per_operation + fit->costs.per_piece, Nanoseconds{0});
  EXPECT_GT(fit->costs.notice, Nanoseconds{0});
}

TEST(DriverCells, APrefixFitsTheModelWithItsSuffixInWholeBlocks) {
  ModelGeometry geometry = tiny();
  EXPECT_EQ(probe_prefix_tokens(geometry), 448u);
  geometry.max_position_embeddings = 95;
  EXPECT_EQ(probe_prefix_tokens(geometry), 0u);
  EXPECT_TRUE(driver_cells(geometry, {}).empty());
  geometry.max_position_embeddings = 96;
  EXPECT_EQ(probe_prefix_tokens(geometry), 64u);
  geometry.max_position_embeddings = 32768;
  EXPECT_EQ(probe_prefix_tokens(geometry), 2048u);
}

}  // namespace
}  // namespace reprefill::calibrate
