#include "engine/executor/cpu/worker_pool.hpp"

#include <atomic>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace reprefill::engine {
namespace {

TEST(WorkerPool, RunsEveryTaskOnceWhateverTheNumberOfThreads) {
  for (const int threads : {1, 2, 3, 8}) {
    WorkerPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const std::size_t num_tasks : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(num_tasks);
      pool.run(num_tasks, [&](std::size_t task, int) { ++runs[task]; });
      for (const auto& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST(WorkerPool, ScratchIsNeverSharedByRunningTasks) {
  WorkerPool pool(4);
  std::vector<std::atomic<int>> users(4);
  std::atomic<bool> shared = false;
  pool.run(2000, [&](std::size_t, int thread_idx) {
    if (users[static_cast<std::size_t>(thread_idx)].fetch_add(1) != 0) shared = true;
    users[static_cast<std::size_t>(thread_idx)].fetch_sub(1);
  });
  EXPECT_FALSE(shared);
}

TEST(WorkerPool, ManyShortJobsFollowEachOther) {
  WorkerPool pool(4);
  std::atomic<std::size_t> sum = 0;
  for (std::size_t job = 0; job < 20000; ++job) {
    pool.run(3, [&](std::size_t task, int) { sum += task; });
  }
  EXPECT_EQ(sum, 60000u);
}

TEST(WorkerPool, ThrowsTheFailureOfTheLowestTaskAfterAllHaveRun) {
  WorkerPool pool(3);
  std::atomic<int> runs = 0;
  const auto fail = [&](std::size_t task, int) {
    ++runs;
    if (task >= 5) throw std::runtime_error(std::to_string(task));
  };
  try {
    pool.run(20, fail);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "5");
  }
  EXPECT_EQ(runs, 20);
  pool.run(5, fail);  // and is usable afterwards
  EXPECT_EQ(runs, 25);
}

TEST(WorkerPool, ZeroThreadsMeansTheCoresThatMayBeUsed) { EXPECT_EQ(WorkerPool(0).num_threads(), usable_cores()); }

}  // namespace
}  // namespace reprefill::engine
