#include "sim/events/combine.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "sim/events/fifo_link.hpp"
#include "sim/events/process.hpp"
#include "sim/events/resource.hpp"
#include "sim/events/shared_link.hpp"

namespace reprefill::sim {
namespace {

using ::testing::ElementsAre;
using Log = std::vector<std::string>;

Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }

/// Notes how a process ended: by itself, or by being destroyed where it waited.
class Fate {
 public:
  Fate(Log& log, std::string name) : log_(log), name_(std::move(name)) {}
  Fate(const Fate&) = delete;
  Fate& operator=(const Fate&) = delete;
  ~Fate() { log_.push_back(name_ + (done_ ? " done" : " cancelled")); }
  void done() { done_ = true; }

 private:
  Log& log_;
  std::string name_;
  bool done_ = false;
};

Process sleeper(Simulation& simulation, Log& log, std::string name, Nanoseconds duration) {
  Fate fate(log, name);
  co_await simulation.delay(duration);
  fate.done();
}

Process thrower(Simulation& simulation, Nanoseconds duration) {
  co_await simulation.delay(duration);
  throw std::runtime_error("broken");
}

Process holder(Simulation& simulation, Resource& resource, Nanoseconds duration) {
  const Lease lease = co_await resource.acquire(resource.capacity());
  co_await simulation.delay(duration);
}

class CombineTest : public ::testing::Test {
 public:  // for the processes, which are lambdas
  void note(const std::string& what) { log.push_back(what + "@" + std::to_string(simulation.now().value)); }
  Process sleep(std::string name, std::int64_t duration) {
    return sleeper(simulation, log, std::move(name), ns(duration));
  }

  Log log;
  Simulation simulation;
};

TEST_F(CombineTest, AllOfEndsWithTheLast) {
  const auto main = [](CombineTest& test) -> Process {
    co_await all_of(test.simulation, test.simulation.delay(ns(3)), test.sleep("five", 5), test.sleep("four", 4));
    test.note("all");
  };
  simulation.spawn(main(*this));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("four done", "five done", "all@5"));
}

TEST_F(CombineTest, AnyOfEndsWithTheFirstAndCancelsTheOthersAtOnce) {
  const auto main = [](CombineTest& test) -> Process {
    const auto first =
        co_await any_of(test.simulation, test.sleep("five", 5), test.sleep("three", 3), test.simulation.delay(ns(4)));
    test.note("any " + std::to_string(first.index()));
  };
  simulation.spawn(main(*this));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("three done", "five cancelled", "any 1@3"));
  EXPECT_EQ(simulation.now(), ns(3));  // nothing is left of the losers
}

TEST_F(CombineTest, OfATieTheOneScheduledFirstWins) {
  const auto main = [](CombineTest& test) -> Process {
    for (int i = 0; i < 3; ++i) {
      const auto first = co_await any_of(test.simulation, test.simulation.delay(ns(2)), test.simulation.delay(ns(2)));
      test.note("any " + std::to_string(first.index()));
    }
  };
  simulation.spawn(main(*this));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("any 0@2", "any 0@4", "any 0@6"));
}

TEST_F(CombineTest, ResultsArriveAsATuple) {
  Resource resource(simulation, 10);
  const auto main = [](CombineTest& test, Resource& buffer) -> Process {
    auto [three, nothing, four] =
        co_await all_of(test.simulation, buffer.acquire(3), test.simulation.delay(ns(1)), buffer.acquire(4));
    static_assert(std::is_same_v<decltype(nothing), std::monostate>);
    EXPECT_EQ(three.units(), 3u);
    EXPECT_EQ(four.units(), 4u);
    EXPECT_EQ(buffer.num_free(), 3u);
  };
  simulation.spawn(main(*this, resource));
  simulation.run();
  EXPECT_EQ(resource.num_free(), 10u);
}

TEST_F(CombineTest, ATimeoutLeavesTheQueueOfTheResource) {
  Resource resource(simulation, 1);
  simulation.spawn(holder(simulation, resource, ns(100)));
  const auto main = [](CombineTest& test, Resource& server) -> Process {
    auto first = co_await any_of(test.simulation, server.acquire(), test.simulation.delay(ns(10)));
    test.note("any " + std::to_string(first.index()));
    EXPECT_EQ(server.num_waiting(), 0u);
    auto second = co_await any_of(test.simulation, server.acquire(), test.simulation.delay(ns(1000)));
    test.note("any " + std::to_string(second.index()));
    EXPECT_EQ(std::get<0>(second).units(), 1u);
    EXPECT_EQ(server.num_free(), 0u);
  };
  simulation.spawn(main(*this, resource));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("any 1@10", "any 0@100"));
  EXPECT_EQ(simulation.now(), ns(100));
  EXPECT_EQ(resource.num_free(), 1u);
}

TEST_F(CombineTest, WhatIsReadyAtOnceWinsWithoutSuspending) {
  Resource resource(simulation, 1);
  const auto main = [](CombineTest& test, Resource& server) -> Process {
    auto first = co_await any_of(test.simulation, test.sleep("loser", 0), server.acquire(), server.acquire());
    test.note("any " + std::to_string(first.index()));
  };
  simulation.spawn(main(*this, resource));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("any 1@0"));  // the loser had not begun
  EXPECT_EQ(resource.num_free(), 1u);
}

TEST_F(CombineTest, TransfersThatLoseLeaveTheirLinks) {
  FifoLink fifo(simulation, BytesPerSecond{1e9});
  SharedLink shared(simulation, BytesPerSecond{1e9});
  const auto main = [](CombineTest& test, FifoLink& first, SharedLink& second) -> Process {
    const auto winner = co_await any_of(test.simulation, first.transfer(Bytes{100}), second.transfer(Bytes{200}),
                                        test.simulation.delay(ns(50)));
    test.note("any " + std::to_string(winner.index()));
  };
  simulation.spawn(main(*this, fifo, shared));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("any 2@50"));
  EXPECT_FALSE(fifo.busy());
  EXPECT_EQ(shared.num_transfers(), 0u);
}

TEST_F(CombineTest, LosingAJoinDetachesAndTheProcessGoesOn) {
  Process worker = sleep("worker", 20);
  worker.start(simulation);
  const auto main = [](CombineTest& test, Process& process) -> Process {
    const auto first = co_await any_of(test.simulation, process.join(), test.simulation.delay(ns(5)));
    test.note("any " + std::to_string(first.index()));
    co_await process.join();
    test.note("joined");
  };
  simulation.spawn(main(*this, worker));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("any 1@5", "worker done", "joined@20"));
}

TEST_F(CombineTest, AnExceptionOfOneCancelsAllAndIsRethrown) {
  const auto main = [](CombineTest& test, bool all) -> Process {
    try {
      if (all) {
        co_await all_of(test.simulation, test.sleep("other", 5), thrower(test.simulation, ns(2)));
      } else {
        co_await any_of(test.simulation, test.sleep("other", 5), thrower(test.simulation, ns(2)));
      }
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      test.note(error.what());
    }
  };
  simulation.spawn(main(*this, true));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("other cancelled", "broken@2"));
  log.clear();
  simulation.spawn(main(*this, false));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("other cancelled", "broken@4"));
}

TEST_F(CombineTest, TheyNest) {
  const auto main = [](CombineTest& test) -> Process {
    Simulation& simulation = test.simulation;
    const auto first = co_await any_of(
        simulation, all_of(simulation, test.sleep("a", 2), test.sleep("b", 7)),
        all_of(simulation, simulation.delay(ns(3)), any_of(simulation, test.sleep("c", 4), test.sleep("d", 9))));
    test.note("any " + std::to_string(first.index()));
  };
  simulation.spawn(main(*this));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a done", "c done", "d cancelled", "b cancelled", "any 1@4"));
}

TEST_F(CombineTest, AnyNumberOfProcesses) {
  const auto main = [](CombineTest& test) -> Process {
    std::vector<Process> processes;
    for (int i = 0; i < 5; ++i) processes.push_back(test.sleep(std::to_string(i), 10 - i));
    co_await all_of(test.simulation, std::move(processes));
    test.note("all");
    std::vector<Process> racers;
    for (int i = 0; i < 3; ++i) racers.push_back(test.sleep(std::to_string(i), i == 1 ? 1 : 5));
    const std::size_t winner = co_await any_of(test.simulation, std::move(racers));
    test.note("any " + std::to_string(winner));
    co_await all_of(test.simulation, std::vector<Process>());
    co_await all_of(test.simulation);
    test.note("none");
  };
  simulation.spawn(main(*this));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("4 done", "3 done", "2 done", "1 done", "0 done", "all@10", "1 done", "0 cancelled",
                               "2 cancelled", "any 1@11", "none@11"));
  EXPECT_THROW(static_cast<void>(any_of(simulation, std::vector<Process>())), InvariantError);
}

TEST_F(CombineTest, CancellingWhoWaitsCancelsAllBranches) {
  const auto main = [](CombineTest& test) -> Process {
    co_await all_of(test.simulation, test.sleep("a", 2), test.sleep("b", 7), test.simulation.delay(ns(9)));
    ADD_FAILURE() << "went on";
  };
  Process process = main(*this);
  process.start(simulation);
  simulation.run_until(ns(3));
  process.cancel();
  EXPECT_THAT(log, ElementsAre("a done", "b cancelled"));
  EXPECT_TRUE(simulation.empty());
}

}  // namespace
}  // namespace reprefill::sim
