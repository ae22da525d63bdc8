#include "sim/events/process.hpp"

#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "core/base/random.hpp"

namespace reprefill::sim {
namespace {

using ::testing::ElementsAre;
using Log = std::vector<std::string>;

Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }

void note(Log& log, const Simulation& simulation, const std::string& what) {
  log.push_back(what + "@" + std::to_string(simulation.now().value));
}

Process wait_and_note(Simulation& simulation, Log& log, std::string name, Nanoseconds duration) {
  co_await simulation.delay(duration);
  note(log, simulation, name);
}

Process wait_and_throw(Simulation& simulation, Nanoseconds duration) {
  co_await simulation.delay(duration);
  throw std::runtime_error("broken at " + std::to_string(simulation.now().value));
}

TEST(Process, RunsOnlyOnceStarted) {
  Simulation simulation;
  Log log;
  Process process = wait_and_note(simulation, log, "a", ns(3));
  simulation.run();
  EXPECT_FALSE(process.done());
  simulation.run_until(ns(100));
  process.start(simulation);
  EXPECT_THAT(log, ElementsAre());
  simulation.run();
  EXPECT_TRUE(process.done());
  EXPECT_THAT(log, ElementsAre("a@103"));
  EXPECT_THROW(process.start(simulation), InvariantError);
}

TEST(Process, ADelayOfZeroLetsOthersOfThisTimeGoFirst) {
  Simulation simulation;
  Log log;
  simulation.spawn(wait_and_note(simulation, log, "zero", ns(0)));
  simulation.spawn(wait_and_note(simulation, log, "also zero", ns(0)));
  simulation.spawn(wait_and_note(simulation, log, "one", ns(1)));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("zero@0", "also zero@0", "one@1"));
  EXPECT_EQ(simulation.num_timed_events(), 1u);
}

TEST(Process, NegativeAndEndlessDelaysAreRefused) {
  Simulation simulation;
  EXPECT_THROW(static_cast<void>(simulation.delay(ns(-1))), InvariantError);
  simulation.run_until(ns(1));
  EXPECT_THROW(static_cast<void>(simulation.delay(ns(std::numeric_limits<std::int64_t>::max()))), InvariantError);
}

Process parent(Simulation& simulation, Log& log) {
  co_await wait_and_note(simulation, log, "child", ns(5));
  note(log, simulation, "parent");
}

TEST(Process, AwaitingOneStartsItAndWaitsForItsEnd) {
  Simulation simulation;
  Log log;
  simulation.spawn(parent(simulation, log));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("child@5", "parent@5"));
}

Process joiner(Simulation& simulation, Log& log, std::string name, const Process& other) {
  co_await other.join();
  note(log, simulation, name);
}

TEST(Process, SeveralMayJoinOneInTheirOrder) {
  Simulation simulation;
  Log log;
  Process process = wait_and_note(simulation, log, "process", ns(5));
  process.start(simulation);
  simulation.spawn(joiner(simulation, log, "first", process));
  simulation.spawn(joiner(simulation, log, "second", process));
  simulation.run();
  simulation.spawn(joiner(simulation, log, "afterwards", process));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("process@5", "first@5", "second@5", "afterwards@5"));
}

TEST(Process, TheFinishedProcessMayGoBeforeItsJoinerRuns) {
  Simulation simulation;
  Log log;
  auto process = std::make_unique<Process>(wait_and_note(simulation, log, "process", ns(5)));
  process->start(simulation);
  simulation.spawn(joiner(simulation, log, "joiner", *process));
  while (log.empty()) simulation.step();
  process.reset();
  simulation.run();
  EXPECT_THAT(log, ElementsAre("process@5", "joiner@5"));
}

TEST(Process, ItsExceptionComesOutOfRunWhenNobodyWaits) {
  Simulation simulation;
  Log log;
  simulation.spawn(wait_and_throw(simulation, ns(5)));
  Process owned = wait_and_throw(simulation, ns(6));
  owned.start(simulation);
  simulation.spawn(wait_and_note(simulation, log, "other", ns(7)));
  EXPECT_THROW(simulation.run(), std::runtime_error);
  EXPECT_EQ(simulation.now(), ns(5));
  EXPECT_THROW(simulation.run(), std::runtime_error);
  EXPECT_EQ(simulation.now(), ns(6));
  EXPECT_TRUE(owned.done());
  simulation.run();
  EXPECT_THAT(log, ElementsAre("other@7"));
}

Process catches(Simulation& simulation, Log& log) {
  try {
    co_await wait_and_throw(simulation, ns(5));
  } catch (const std::runtime_error& error) {
    log.push_back(error.what());
  }
  co_await simulation.delay(ns(1));
  note(log, simulation, "went on");
}

TEST(Process, ItsExceptionIsRethrownToWhoWaits) {
  Simulation simulation;
  Log log;
  simulation.spawn(catches(simulation, log));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("broken at 5", "went on@6"));
}

Process nested_throw(Simulation& simulation, int depth) {
  if (depth == 0) throw std::runtime_error("from the bottom");
  co_await nested_throw(simulation, depth - 1);
}

TEST(Process, AnExceptionPassesThroughAllWhoWait) {
  Simulation simulation;
  simulation.spawn(nested_throw(simulation, 50));
  EXPECT_THROW(simulation.run(), std::runtime_error);
  EXPECT_TRUE(simulation.empty());
}

TEST(Process, JoiningAFailedOneLaterThrowsToo) {
  Simulation simulation;
  Log log;
  Process process = wait_and_throw(simulation, ns(1));
  process.start(simulation);
  EXPECT_THROW(simulation.run(), std::runtime_error);
  simulation.spawn(joiner(simulation, log, "joiner", process));
  EXPECT_THROW(simulation.run(), std::runtime_error);
  EXPECT_THAT(log, ElementsAre());
}

TEST(Process, CancellingOneTellsWhoWaitsForIt) {
  Simulation simulation;
  Log log;
  Process process = wait_and_note(simulation, log, "process", ns(5));
  process.start(simulation);
  simulation.spawn(joiner(simulation, log, "joiner", process));
  simulation.run_until(ns(2));
  process.cancel();
  EXPECT_FALSE(process.done());
  EXPECT_THROW(simulation.run(), InvariantError);
  EXPECT_EQ(simulation.now(), ns(2));
  EXPECT_THAT(log, ElementsAre());
}

TEST(Process, ACancelledOneLeavesNoEventBehind) {
  Simulation simulation;
  Log log;
  Process waits = wait_and_note(simulation, log, "waits", ns(5));
  Process starts = wait_and_note(simulation, log, "starts", ns(5));
  waits.start(simulation);
  simulation.run_until(ns(1));
  starts.start(simulation);
  waits.cancel();
  starts = Process();
  EXPECT_TRUE(simulation.empty());
}

TEST(Process, UsingAnEmptyHandleIsABrokenInvariant) {
  Simulation simulation;
  Process empty;
  EXPECT_FALSE(empty.done());
  EXPECT_THROW(empty.start(simulation), InvariantError);
  EXPECT_THROW(static_cast<void>(empty.join()), InvariantError);
  EXPECT_THROW(simulation.spawn(Process()), InvariantError);
}

Process random_walker(Simulation& simulation, std::vector<std::int64_t>& log, std::uint64_t seed, int depth) {
  RandomStream random(seed, 0, "walker");
  for (int i = 0; i < 20; ++i) {
    co_await simulation.delay(ns(static_cast<std::int64_t>(random.below(5))));
    log.push_back(simulation.now().value * 1000 + static_cast<std::int64_t>(seed));
    if (depth > 0 && random.below(4) == 0) co_await random_walker(simulation, log, seed * 7 + 1, depth - 1);
  }
}

std::vector<std::int64_t> walk_all() {
  Simulation simulation;
  std::vector<std::int64_t> log;
  for (std::uint64_t seed = 0; seed < 30; ++seed) simulation.spawn(random_walker(simulation, log, seed, 2));
  simulation.run();
  return log;
}

TEST(Process, TheSameSeedGivesTheSameOrderOnEveryThread) {
  const std::vector<std::int64_t> expected = walk_all();
  EXPECT_GT(expected.size(), 1000u);
  std::vector<std::vector<std::int64_t>> logs(4);
  std::vector<std::thread> threads;
  for (auto& log : logs) threads.emplace_back([&log] { log = walk_all(); });
  for (auto& thread : threads) thread.join();
  for (const auto& log : logs) EXPECT_EQ(log, expected);
}

}  // namespace
}  // namespace reprefill::sim
