// Parts of a sweep: every point in exactly one, and joining them refuses whatever is not whole.
#include "sim/sweep/shard.hpp"

#include <gmock/gmock.h>

#include "core/record/result_folder.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::sim {
namespace {

using test_support::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ParseShard, TakesAnIndexBelowTheCount) {
  EXPECT_EQ(parse_shard("0/1"), (Shard{0, 1}));
  EXPECT_EQ(parse_shard("15/16"), (Shard{15, 16}));
}

TEST(ParseShard, RefusesEverythingElse) {
  for (const char* text : {"", "/", "1", "1/", "/2", "2/2", "-1/2", "+1/2", "1/2/3", "1 /2", "a/b", "0/0", "0/100001",
                           "1/99999999999999999999"}) {
    EXPECT_THAT([&] { parse_shard(text); }, ThrowsMessage<ConfigError>(HasSubstr("expected I/N"))) << text;
  }
}

/// Points of two systems that cost very differently, in `num_groups` groups.
Scenario scenario_of(std::size_t num_groups, bool warms_up) {
  Scenario scenario;
  scenario.name = "s";
  for (std::size_t group = 0; group < num_groups; ++group) {
    for (const char* system : {"as_h2o", "recompute", "contiguous_kv"}) {
      Point point;
      point.index = scenario.points.size();
      point.group = group;
      point.system = point.label = system;
      point.geometry.num_layers = 4;
      point.workload.pool.num_prefixes = 10;
      point.workload.pool.measured_requests = 10 + group;
      if (!warms_up) point.workload.pool.warmup_requests = 5;
      scenario.points.push_back(point);
    }
  }
  return scenario;
}

TEST(PointsOfShard, EveryPointIsInExactlyOneShardWhateverTheCount) {
  for (const bool warms_up : {false, true}) {
    for (const std::size_t groups : {0, 1, 5, 12}) {
      const Scenario scenario = scenario_of(groups, warms_up);
      for (const std::size_t count : {1, 2, 3, 7, 40}) {
        std::vector<int> times(scenario.points.size(), 0);
        for (std::size_t index = 0; index < count; ++index) {
          const std::vector<std::size_t> points = points_of_shard(scenario, {index, count});
          EXPECT_TRUE(std::is_sorted(points.begin(), points.end()));
          for (const std::size_t point : points) ++times.at(point);
        }
        EXPECT_THAT(times, testing::Each(1)) << groups << " groups, " << count << " shards";
      }
    }
  }
}

TEST(PointsOfShard, PointsThatShareASimulatedWarmUpStayTogether) {
  const Scenario scenario = scenario_of(6, true);
  for (std::size_t index = 0; index < 3; ++index) {
    const std::vector<std::size_t> points = points_of_shard(scenario, {index, 3});
    EXPECT_EQ(points.size(), 6u);  // two groups of three
    for (const std::size_t point : points) {
      const std::size_t first = point - point % 3;
      for (std::size_t other = first; other < first + 3; ++other) {
        EXPECT_THAT(points, testing::Contains(other));
      }
    }
  }
}

TEST(PointsOfShard, CostlyPointsAreSpread) {
  const Scenario scenario = scenario_of(4, false);  // four of as_h2o cost nearly everything
  for (std::size_t index = 0; index < 4; ++index) {
    int num_costly = 0;
    for (const std::size_t point : points_of_shard(scenario, {index, 4})) {
      num_costly += scenario.points[point].system == "as_h2o";
    }
    EXPECT_EQ(num_costly, 1) << index;
  }
}

TEST(ShardFolder, NamesSortInTheOrderOfTheirNumbers) {
  EXPECT_EQ(shard_folder("r", {3, 16}), std::filesystem::path("r/shard-03-of-16"));
  EXPECT_EQ(shard_folder("r", {3, 10}), std::filesystem::path("r/shard-3-of-10"));
  EXPECT_EQ(shard_folder("r", {0, 1}), std::filesystem::path("r/shard-0-of-1"));
}

class ReadShards : public testing::Test {
 protected:
  /// A shard of a sweep of four points, with `rows` done.
  void write_shard(const Shard& shard, std::vector<std::size_t> points, const std::vector<std::size_t>& rows,
                   int seed = 1) {
    const Json resolved = {{"seed", seed},
                           {"shard",
                            {{"index", shard.index},
                             {"count", shard.count},
                             {"name", "s"},
                             {"description", ""},
                             {"axes", Json::array()},
                             {"points", std::move(points)}}}};
    record::ResultFolder folder(shard_folder(folder_.path(), shard), resolved, record::ResultFolder::Mode::fresh);
    for (const std::size_t row : rows) folder.append_row(row, "hash", {{"point", row}});
  }
  TemporaryFolder folder_;
};

TEST_F(ReadShards, NamesWhatIsMissingAndUnfinished) {
  write_shard({0, 3}, {0, 2}, {2});
  write_shard({2, 3}, {3}, {3});
  EXPECT_THAT([&] { read_shards(folder_.path()); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("shard 0 of 3 has 1 of 2 points"),
                                               HasSubstr("shard 1 of 3 was not run"), HasSubstr("--resume"))));
}

TEST_F(ReadShards, RefusesShardsOfDifferentSweepsAndCounts) {
  write_shard({0, 2}, {0}, {0}, 1);
  write_shard({1, 2}, {1}, {1}, 2);
  EXPECT_THAT([&] { read_shards(folder_.path()); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("different sweeps"), HasSubstr("/seed was 1 and is 2"))));
}

TEST_F(ReadShards, RefusesAFolderWithoutShardsAndOneThatIsRunning) {
  EXPECT_THAT([&] { read_shards(folder_.path()); }, ThrowsMessage<ConfigError>(HasSubstr("no shard-* folder")));
  EXPECT_THAT([&] { read_shards(folder_ / "nothing"); }, ThrowsMessage<ConfigError>(HasSubstr("cannot be read")));
  write_shard({0, 1}, {0}, {});
  const std::filesystem::path shard = shard_folder(folder_.path(), {0, 1});
  const record::ResultFolder running(shard, read_json_file(shard / "resolved.json"),
                                     record::ResultFolder::Mode::resume);
  EXPECT_THAT([&] { read_shards(folder_.path()); }, ThrowsMessage<ConfigError>(HasSubstr("in use")));
}

TEST_F(ReadShards, RefusesAFolderThatIsNoShard) {
  const std::filesystem::path folder = shard_folder(folder_.path(), {0, 1});
  { record::ResultFolder whole(folder, {{"seed", 1}}, record::ResultFolder::Mode::fresh); }
  EXPECT_THAT([&] { read_shards(folder_.path()); }, ThrowsMessage<ConfigError>(HasSubstr("shard")));
}

}  // namespace
}  // namespace reprefill::sim
