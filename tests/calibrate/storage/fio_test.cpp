#include "calibrate/storage/fio.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/meter/statistics.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// As fio 3.33 writes it, cut down.
Json fio_result() {
  return Json::parse(R"({
    "fio version": "fio-3.33",
    "global options": {"direct": "1", "ioengine": "io_uring"},
    "jobs": [
      {"jobname": "a", "job options": {"rw": "randread", "bs": "4k", "iodepth": "1"},
       "read": {"iops": 10000.0, "clat_ns": {"percentile": {"50.000000": 95000}}}},
      {"jobname": "b", "job options": {"rw": "randread", "bs": "131072", "iodepth": "8", "numjobs": "2"},
       "read": {"iops": 20000.0}}]})");
}

TEST(FioResult, JobsBecomeCellsOfTheSameShapesAsOurs) {
  const std::vector<Measured> cells = parse_fio_result(fio_result(), "fio.json");
  ASSERT_EQ(cells.size(), 2u);
  EXPECT_EQ(cells[0].spec.id, "read/random/bytes=4096/depth=1/rings=1");
  EXPECT_DOUBLE_EQ(median(cells[0].of(0)), 100'000);
  EXPECT_DOUBLE_EQ(median(cells[0].of(1)), 95'000);
  EXPECT_EQ(cells[1].spec.id, "read/random/bytes=131072/depth=16/rings=2");
  EXPECT_DOUBLE_EQ(median(cells[1].of(0)), 50'000);
  EXPECT_DOUBLE_EQ(median(cells[1].of(1)), 800'000);  // no percentile: Little's law
}

TEST(FioResult, BufferedReadsAreRefused) {
  Json json = fio_result();
  json["global options"].erase("direct");
  EXPECT_THAT([&] { parse_fio_result(json, "fio.json"); },
              ThrowsMessage<ConfigError>(HasSubstr("fio.json: jobs[0]: the job is not direct=1")));
}

TEST(FioResult, WritesSizesAndCountsThatCannotBeReadAreRefusedWithTheirPlace) {
  const auto expect_refused = [](const char* key, const char* value, const char* message) {
    Json json = fio_result();
    json["jobs"][1]["job options"][key] = value;
    EXPECT_THAT([&] { parse_fio_result(json, "fio.json"); }, ThrowsMessage<ConfigError>(HasSubstr(message))) << value;
  };
  expect_refused("rw", "randwrite", "expected \"randread\" or \"read\"");
  expect_refused("bs", "4x", "expected a size such as");
  expect_refused("bs", "-4k", "expected a size such as");
  expect_refused("bs", "99999999999999999999", "expected a size such as");
  expect_refused("iodepth", "0", "expected a whole number from 1");
  expect_refused("iodepth", "8,16", "expected a whole number from 1");
}

TEST(FioResult, AJobThatReadNothingAndTheSameReadsTwiceAreRefused) {
  Json json = fio_result();
  json["jobs"][0]["read"]["iops"] = 0.0;
  EXPECT_THROW(parse_fio_result(json, "fio.json"), ConfigError);
  json = fio_result();
  json["jobs"].push_back(json["jobs"][0]);
  EXPECT_THAT([&] { parse_fio_result(json, "fio.json"); }, ThrowsMessage<ConfigError>(HasSubstr("the same reads")));
  json["jobs"] = Json::array();
  EXPECT_THROW(parse_fio_result(json, "fio.json"), ConfigError);
}

TEST(FioResult, WarningsBeforeTheJsonAreSkipped) {
  const test_support::TemporaryFolder folder;
  test_support::write_text(folder / "fio.json", "fio: a warning\n" + fio_result().dump());
  EXPECT_EQ(read_fio_result(folder / "fio.json").size(), 2u);
  test_support::write_text(folder / "fio.json", "no JSON at all");
  EXPECT_THROW(read_fio_result(folder / "fio.json"), ConfigError);
}

TEST(FioJob, HasASectionForEveryReadOfTheGrid) {
  const StorageGrid grid = quick_storage_grid();
  const std::string job = fio_job(grid, "/data", Bytes{1 << 30});
  std::size_t sections = 0;
  for (std::size_t at = job.find("stonewall"); at != std::string::npos; at = job.find("stonewall", at + 1)) ++sections;
  EXPECT_EQ(sections, grid.sizes.size() * (grid.depths.size() + grid.ring_counts.size()));
  EXPECT_THAT(job, HasSubstr("direct=1"));
  EXPECT_THAT(job, HasSubstr("size=1073741824"));
  EXPECT_THAT(job, HasSubstr("[random-4096-depth1-rings1]\nstonewall\nrw=randread\nbs=4096\niodepth=1\n"));
}

}  // namespace
}  // namespace reprefill::calibrate
