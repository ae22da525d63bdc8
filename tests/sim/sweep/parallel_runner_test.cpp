#include "sim/sweep/parallel_runner.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "core/base/error.hpp"

namespace reprefill::sim {
namespace {

using testing::ElementsAre;

const std::atomic<bool> kNeverInterrupted{false};

TEST(RunPoints, OneThreadTakesTheLongestFirstAndEqualsInTheirOrder) {
  std::vector<std::size_t> order;
  run_points(
      {1, 5, 2, 5, 0}, 1, [&](std::size_t point) { order.push_back(point); }, kNeverInterrupted);
  EXPECT_THAT(order, ElementsAre(1, 3, 2, 0, 4));
}

TEST(RunPoints, NoPointsAreNoCalls) {
  run_points(
      {}, 4, [](std::size_t) { FAIL(); }, kNeverInterrupted);
}

TEST(RunPoints, EveryPointIsRunOnceOnAnyNumberOfThreads) {
  for (const std::size_t jobs : {0, 1, 2, 3, 8, 100}) {
    std::mutex mutex;
    std::multiset<std::size_t> seen;
    run_points(
        std::vector<double>(57, 1.0), jobs,
        [&](std::size_t point) {
          const std::lock_guard lock(mutex);
          seen.insert(point);
        },
        kNeverInterrupted);
    EXPECT_EQ(seen.size(), 57u) << jobs;
    for (std::size_t point = 0; point < 57; ++point) EXPECT_EQ(seen.count(point), 1u) << jobs;
  }
}

// Deadlocks (and meets the test's time limit) if fewer than four points are under way together.
TEST(RunPoints, AsManyPointsAsJobsAreUnderWayTogether) {
  std::barrier meeting(4);
  run_points(
      std::vector<double>(8, 1.0), 4, [&](std::size_t) { meeting.arrive_and_wait(); }, kNeverInterrupted);
}

TEST(RunPoints, AfterAFailureNothingNewBeginsAndWhatWasDoneStaysDone) {
  std::vector<std::size_t> done;
  const auto run = [&](std::size_t point) {
    if (point == 2) throw ConfigError("point 2");
    done.push_back(point);
  };
  EXPECT_THROW(run_points({5, 4, 3, 2, 1}, 1, run, kNeverInterrupted), ConfigError);
  EXPECT_THAT(done, ElementsAre(0, 1));
}

TEST(RunPoints, OfSeveralFailuresThatOfTheFirstPointIsReported) {
  std::barrier meeting(3);
  const auto run = [&](std::size_t point) {
    meeting.arrive_and_wait();
    // The lowest index fails last.
    std::this_thread::sleep_for(std::chrono::milliseconds(point == 0 ? 30 : 0));
    throw ConfigError(std::to_string(point));
  };
  try {
    run_points({1, 2, 3}, 3, run, kNeverInterrupted);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "0");
  }
}

TEST(RunPoints, AnInterruptLetsTheCurrentPointEndAndBeginsNoOther) {
  std::atomic<bool> interrupted{false};
  std::vector<std::size_t> done;
  const auto run = [&](std::size_t point) {
    if (point == 1) interrupted = true;
    done.push_back(point);
  };
  EXPECT_THROW(run_points({3, 2, 1}, 1, run, interrupted), Interrupted);
  EXPECT_THAT(done, ElementsAre(0, 1));
}

TEST(InterruptGuard, TheFirstSignalOnlySetsTheFlag) {
  for (const int number : {SIGINT, SIGTERM}) {
    const InterruptGuard guard;
    EXPECT_FALSE(guard.flag());
    raise(number);
    EXPECT_TRUE(guard.flag());
  }
}

TEST(InterruptGuard, TheSecondSignalEndsTheProcessWithCode130) {
  EXPECT_EXIT(
      {
        const InterruptGuard guard;
        raise(SIGINT);
        raise(SIGTERM);
      },
      testing::ExitedWithCode(130), "");
}

TEST(InterruptGuard, GivesBackTheHandlingThatItFound) {
  const auto before = signal(SIGTERM, SIG_IGN);
  { const InterruptGuard guard; }
  EXPECT_EQ(signal(SIGTERM, before), SIG_IGN);
}

TEST(NumUsableCores, FollowsTheAffinityMask) {
  cpu_set_t before;
  if (sched_getaffinity(0, sizeof before, &before) != 0) GTEST_SKIP() << "a machine of more than 1,024 cores";
  EXPECT_EQ(num_usable_cores(), static_cast<std::size_t>(CPU_COUNT(&before)));
  int some_core = 0;
  while (!CPU_ISSET(some_core, &before)) ++some_core;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(some_core, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(num_usable_cores(), 1u);
  sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace reprefill::sim
