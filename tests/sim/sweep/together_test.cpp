// Which points of a sweep run in one go: those that choose tokens for the same requests.
#include "sim/sweep/together.hpp"

#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>

namespace reprefill::sim {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAreArray;

using Lots = std::vector<std::vector<std::size_t>>;

/// By system and replica: two software paths, each with `num_sizes` cache sizes.
std::vector<Point> points_of(const std::vector<const char*>& systems, std::uint64_t num_replicas, int num_sizes) {
  std::vector<Point> points;
  for (const char* path : {"prototype", "direct"}) {
    for (const char* system : systems) {
      for (int size = 0; size < num_sizes; ++size) {
        for (std::uint64_t replica = 0; replica < num_replicas; ++replica) {
          Point& point = points.emplace_back();
          point.index = points.size() - 1;
          point.system = system;
          point.replica = replica;
          point.system_params = {{"gpu_cache_bytes", size}};
          point.resolved = {{"model", "m"},
                            {"workload", "w"},
                            {"importance", "i"},
                            {"store_block_tokens", 64},
                            {"software_path", path}};
        }
      }
    }
  }
  return points;
}

Lots lots_of(const std::vector<Point>& points, std::size_t num_workers) {
  std::vector<std::size_t> all(points.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return lots_of_points(points, all, num_workers);
}

TEST(LotsOfPoints, HoldWhatDiffersInPathAndCachesOnly) {
  EXPECT_THAT(lots_of(points_of({"as_h2o"}, 2, 1), 1), ElementsAre(ElementsAre(0, 2), ElementsAre(1, 3)));
}

TEST(LotsOfPoints, LeaveSystemsAloneThatChooseNoTokens) {
  EXPECT_THAT(lots_of(points_of({"contiguous_kv", "impress"}, 1, 1), 1),
              ElementsAre(ElementsAre(0), ElementsAre(1, 3), ElementsAre(2)));
}

TEST(LotsOfPoints, DifferInWorkloadModelImportanceAndSeed) {
  for (const char* key : {"model", "workload", "importance", "store_block_tokens"}) {
    std::vector<Point> points = points_of({"impress"}, 1, 1);
    points[1].resolved[key] = "another";
    EXPECT_THAT(lots_of(points, 1), ElementsAre(ElementsAre(0), ElementsAre(1))) << key;
  }
  std::vector<Point> points = points_of({"impress"}, 1, 1);
  points[1].seed = 2;
  EXPECT_THAT(lots_of(points, 1), ElementsAre(ElementsAre(0), ElementsAre(1)));
}

TEST(LotsOfPoints, HaveEveryPointOnceAndLeaveSeveralForEveryWorker) {
  const std::vector<Point> points = points_of({"as_h2o", "impress", "contiguous_kv"}, 3, 9);
  std::vector<std::size_t> all(points.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  for (const std::size_t num_workers : {1, 2, 4, 64, 1000}) {
    std::vector<std::size_t> found;
    std::size_t largest = 0;
    const Lots lots = lots_of(points, num_workers);
    for (const auto& lot : lots) {
      found.insert(found.end(), lot.begin(), lot.end());
      largest = std::max(largest, lot.size());
    }
    EXPECT_THAT(found, UnorderedElementsAreArray(all)) << num_workers;
    EXPECT_LE(largest, 16u);
    EXPECT_GE(lots.size(), std::min(points.size(), 2 * num_workers)) << num_workers;
  }
}

}  // namespace
}  // namespace reprefill::sim
