#include "calibrate/storage/load.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/storage/cells.hpp"
#include "core/base/error.hpp"
#include "engine/io/storage_kind.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

class LoadTest : public testing::Test {
 protected:
  void SetUp() override {
    if (engine::storage_kind(folder.path()).is_memory) GTEST_SKIP() << "the temporary folder is in memory";
    file.emplace(folder.path(), Bytes{16 << 20}, nullptr);
  }
  test_support::TemporaryFolder folder;
  std::optional<ScratchFile> file;
};

TEST_F(LoadTest, ReadsAreCountedTimedAndPastThePageCache) {
  ReadLoad load(*file, {Bytes{65536}, 4, Pattern::random}, 1, true);
  LatencyHistogram latencies;
  const LoadResult result = load.run(0.02, &latencies);
  EXPECT_GE(result.count, 4u);
  EXPECT_GE(result.seconds, 0.02);
  EXPECT_EQ(latencies.count(), result.count);
  // Little's law: latencies are no shorter than the time per read, four at a time.
  EXPECT_GE(latencies.quantile_ns(1) * 1.1, result.ns_each());
  EXPECT_LE(file->cached_share(), 0.01);
}

TEST_F(LoadTest, SeveralFilesAreReadAndThoseSmallerThanAReadAreLeftOut) {
  std::ofstream(folder / "small") << std::string(4096, 'x');
  std::ofstream(folder / "large") << std::string(3 * 65536, 'x');
  const auto open = [&](const char* name) {
    const int descriptor = ::open((folder / name).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    EXPECT_GE(descriptor, 0);
    return ReadTarget{descriptor, name, Bytes{std::filesystem::file_size(folder / name)}};
  };
  // An end of file that were read past would be a short read, which fails the load.
  const std::vector<ReadTarget> targets = {open("small"), open("large"), {file->descriptor(), "scratch", file->size()}};
  ReadLoad load(targets, {Bytes{65536}, 4, Pattern::sequential}, 1, true);
  EXPECT_GE(load.run(0.02).count, 4u);
  EXPECT_THROW(ReadLoad(std::span(targets).first(1), {Bytes{65536}, 1, Pattern::random}, 1, true), std::exception);
  ::close(targets[0].descriptor);
  ::close(targets[1].descriptor);
}

TEST_F(LoadTest, ALoadCanRunAgainAndStopsWhenTold) {
  ReadLoad load(*file, {Bytes{4096}, 8, Pattern::sequential}, 1, true);
  const std::atomic<bool> stop{true};
  EXPECT_GE(load.run(1e9, nullptr, &stop).count, 1u);
  EXPECT_GE(load.run(0, nullptr).count, 8u);
}

TEST_F(LoadTest, WritesStayInsideTheFile) {
  WriteLoad load(*file, {Bytes{1 << 20}, 2});
  EXPECT_GE(load.run(0.01).count, 2u);
  EXPECT_EQ(std::filesystem::file_size(file->path()), 16u << 20);
}

TEST_F(LoadTest, SubmittingAndHarvestingCostsSomethingPerRead) {
  ReadLoad load(*file, {Bytes{4096}, 16, Pattern::random}, 1, true);
  const ReadLoad::CallCosts costs = load.time_calls();
  EXPECT_GT(costs.submit_ns, 0);
  EXPECT_GT(costs.harvest_ns, 0);
}

TEST_F(LoadTest, TwoGroupsThatAreQueuedTogetherBothEnd) {
  ReadLoad load(*file, {Bytes{65536}, 16, Pattern::random}, 1, true);
  const ReadLoad::GroupEnds ends = load.time_groups();
  EXPECT_GT(ends.first_ns, 0);
  EXPECT_GT(ends.second_ns, 0);
}

TEST_F(LoadTest, AReadThatFailsIsAnErrorNotASample) {
  ReadLoad load(*file, {Bytes{1 << 20}, 2, Pattern::sequential}, 1, true);
  std::filesystem::resize_file(file->path(), 1 << 20);
  EXPECT_THROW(load.run(0.05), MachineError);
}

TEST(Background, RunsBesideAndHandsOverWhatItThrew) {
  std::atomic<int> rounds{0};
  Background work([&](const std::atomic<bool>&) { ++rounds; });
  while (rounds == 0) {}
  work.stop();
  Background failing([](const std::atomic<bool>&) { throw MachineError("broken"); });
  EXPECT_THROW(failing.stop(), MachineError);
}

TEST(StorageCells, APlanNeedsNoFileAndNamesEveryShapeOnce) {
  for (const StorageGrid& grid : {quick_storage_grid(), full_storage_grid()}) {
    std::set<std::string> ids;
    const auto cells = storage_cells(grid, nullptr);
    for (const auto& cell : cells) ids.insert(cell->spec().id);
    EXPECT_EQ(ids.size(), cells.size());
    EXPECT_TRUE(ids.contains("read/random/bytes=4096/depth=1/rings=1"));
    EXPECT_TRUE(ids.contains("read/random/bytes=4194304/depth=128/rings=4"));
  }
}

TEST(StorageCells, LoadsThatASmallScratchFileCannotHoldAreLeftOutButTwoDepthsOfEachSizeStay) {
  StorageGrid grid = quick_storage_grid();
  grid.span = Bytes{std::uint64_t{64} << 20};
  std::map<std::uint64_t, std::set<std::uint32_t>> depths;
  for (const auto& cell : storage_cells(grid, nullptr)) {
    const CellSpec& spec = cell->spec();
    if (spec.quantity == "read" && spec.shape.at("rings") == 1) {
      depths[spec.shape.at("bytes")].insert(spec.shape.at("depth").get<std::uint32_t>());
    }
  }
  EXPECT_EQ(depths[128 << 10], (std::set<std::uint32_t>{1, 4, 16, 32, 128}));  // exactly a quarter
  EXPECT_EQ(depths[512 << 10], (std::set<std::uint32_t>{1, 4, 16, 32}));
  EXPECT_EQ(depths[4096 << 10], (std::set<std::uint32_t>{1, 4}));
}

TEST_F(LoadTest, EveryKindOfCellGivesASampleOfItsMetrics) {
  StorageGrid grid{.sizes = {Bytes{4096}},
                   .depths = {2},
                   .ring_counts = {2},
                   .patterns = {Pattern::random},
                   .slice_s = 0.005,
                   .unregistered_buffers = true};
  for (const auto& cell : storage_cells(grid, &*file)) {
    cell->prepare();
    const Sample sample = cell->sample();
    cell->finish();
    ASSERT_EQ(sample.values.size(), cell->spec().metrics.size()) << cell->spec().id;
    for (const double value : sample.values) EXPECT_GT(value, 0) << cell->spec().id;
  }
}

}  // namespace
}  // namespace reprefill::calibrate
